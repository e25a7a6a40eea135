"""Is this machine fit for a run, and are the run's inputs there? `genesim doctor`."""

from genesim.doctor.check import Check, failed, table
from genesim.doctor.examine import examine

__all__ = ["Check", "examine", "failed", "table"]
