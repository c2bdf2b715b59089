"""Write a data set as shards: ``python -m pyro_dsvae.data.shard`` is the verb `pyro_dsvae.shard`."""

from pyro_dsvae.process import run_verb

if __name__ == "__main__":
    run_verb("shard")
