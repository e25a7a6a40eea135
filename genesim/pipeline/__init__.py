"""The five verbs, prepare -> train -> simulate -> evaluate -> report: the one place that sees everything."""
