"""haplotypes models"""
