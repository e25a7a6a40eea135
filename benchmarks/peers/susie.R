# susieR on the problems that effect_peers.py wrote: Rscript susie.R FOLDER N_EFFECTS
suppressMessages(library(susieR))
given <- commandArgs(trailingOnly = TRUE)
folder <- given[1]
shapes <- read.csv(file.path(folder, "shapes.csv"))
cpu <- numeric(nrow(shapes))
for (i in seq_len(nrow(shapes))) {
  n <- shapes$n[i]; p <- shapes$p[i]
  x <- matrix(readBin(file.path(folder, sprintf("x%d.bin", i - 1)), "numeric", n * p, size = 4), n, p)
  y <- readBin(file.path(folder, sprintf("y%d.bin", i - 1)), "numeric", n, size = 4)
  started <- proc.time()
  fit <- susie(x, y, L = as.integer(given[2]), coverage = 0.95, min_abs_corr = 0.5)
  cpu[i] <- sum((proc.time() - started)[1:2])
  set <- rep(0L, p)
  for (k in seq_along(fit$sets$cs)) set[fit$sets$cs[[k]]] <- k
  out <- data.frame(pip = fit$pip, effect = coef(fit)[-1], set = set)
  write.csv(out, file.path(folder, sprintf("susie%d.csv", i - 1)), row.names = FALSE)
}
writeLines(c(sprintf("%.6f", mean(cpu)), as.character(packageVersion("susieR"))), file.path(folder, "susie.txt"))
