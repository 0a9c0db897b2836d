"""The example as a Kedro project, with the node functions of pokeml."""
