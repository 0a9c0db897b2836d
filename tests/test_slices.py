"""Pipelines are cut, added and renamed as Kedro does it: the same random graphs, given to both."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pokeml.pipeline import Pipeline, node, pipeline
from pokeml.project import PokemlError
from pokeml.selection import Selection, select

os.environ |= {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"}
kedro = pytest.importorskip("kedro.pipeline")

from kedro.io import AbstractDataset, DataCatalog, MemoryDataset  # noqa: E402
from kedro.runner import SequentialRunner  # noqa: E402

PipelineError = sys.modules["kedro.pipeline.pipeline"].PipelineError
pytestmark = pytest.mark.filterwarnings("ignore:Namespace", "ignore:One or more dataset names")
TAGS = ["red", "green", "blue"]
SPACES = [None, "n", "n.m", "nm", "o"]
BUDGET = settings(max_examples=40, derandomize=True, deadline=None)  # the same graphs in each run


def take(*values):
    return values


@st.composite
def graphs(draw):
    """Draw nodes: names, inputs, outputs, tags and namespaces; some datasets are written and read by other entries."""
    there, nodes = ["raw", "extra@csv", "params:p", "params:q.r", "parameters"], []
    for i in range(draw(st.integers(1, 7))):
        inputs = draw(st.lists(st.sampled_from(there), unique=True, max_size=3))
        bases = [f"d{i}{j}" for j in range(draw(st.integers(1, 2)))]
        written = [draw(st.sampled_from([(b, [b]), (f"{b}@w", [f"{b}@w", f"{b}@r"])])) for b in bases]
        there += [name for _, names in written for name in names]
        outputs = [name for name, _ in written]
        tags = draw(st.lists(st.sampled_from(TAGS), unique=True))
        nodes.append({"inputs": inputs or None, "outputs": outputs, "name": f"node{i}", "tags": tags})
        nodes[-1]["namespace"] = draw(st.sampled_from(SPACES))
    return nodes


def both(nodes):
    ours = Pipeline([node(take, **about) for about in nodes])
    return ours, kedro.Pipeline([kedro.node(take, **about) for about in nodes])


def about(pipeline):
    return {
        n.name: (list(n.inputs.values() if isinstance(n.inputs, dict) else n.inputs), list(n.outputs), set(n.tags))
        for n in pipeline.nodes
    }


def outcome(work, error):
    try:
        return about(work())
    except error:
        return "refused"


@BUDGET
@given(graphs())
def test_inputs_and_outputs_are_those_of_kedro(nodes):
    ours, theirs = both(nodes)
    assert about(ours) == about(theirs)
    for question in ("inputs", "outputs", "all_inputs", "all_outputs", "datasets"):
        assert getattr(ours, question)() == getattr(theirs, question)(), question


@BUDGET
@given(st.data())
def test_every_slice_is_that_of_kedro(data):
    nodes = data.draw(graphs())
    ours, theirs = both(nodes)
    names = [n.name for n in ours.nodes]
    datasets = sorted(ours.datasets() | {name.partition("@")[0] for name in ours.datasets()})
    choices = {
        "tags": TAGS,
        "node_names": names,
        "from_nodes": names,
        "to_nodes": names,
        "from_inputs": datasets,
        "to_outputs": datasets,
        # Kedro stumbles over n and n.m together: it then has nodes twice.
        "node_namespaces": data.draw(st.sampled_from([["n", "nm", "o"], ["n.m", "nm", "o"]])),
    }
    some = {
        option: data.draw(st.lists(st.sampled_from(values), unique=True, max_size=3), label=option)
        for option, values in choices.items()
        if data.draw(st.integers(0, 2)) == 0
    }
    assert outcome(lambda: ours.filter(**some), PokemlError) == outcome(lambda: theirs.filter(**some), ValueError)
    picked = data.draw(st.lists(st.sampled_from(datasets), unique=True, max_size=3))
    for slice in ("only_nodes_with_inputs", "only_nodes_with_outputs", "from_inputs", "to_outputs"):
        assert about(getattr(ours, slice)(*picked)) == about(getattr(theirs, slice)(*picked)), slice


@BUDGET
@given(st.data())
def test_a_selection_in_several_stages_is_what_kedro_filters(data):
    nodes = data.draw(graphs())
    ours, theirs = both(nodes)
    names = [n.name for n in ours.nodes]
    cut = data.draw(st.integers(0, len(names)))  # nodes are drawn in an order in which they can run
    whole = {"one": Pipeline(ours.nodes[:cut]), "two": Pipeline(ours.nodes[cut:])}
    some = {
        option: data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3))
        for option in data.draw(st.sets(st.sampled_from(["nodes", "from_nodes", "to_nodes"])))
    }
    kedros = {{"nodes": "node_names"}.get(option, option): picked for option, picked in some.items()}
    parts = outcome(lambda: sum(select(whole, Selection(**some), dict().get).values()) or ours, PokemlError)
    assert parts == outcome(lambda: theirs.filter(**kedros), ValueError)


class Kept(AbstractDataset):
    """A dataset of which only is known whether it is there."""

    def __init__(self, is_there):
        self.is_there = is_there

    def load(self):
        return None

    def save(self, data):
        pass

    def _exists(self):
        return self.is_there

    def _describe(self):
        return {}


@BUDGET
@given(st.data())
def test_only_missing_outputs_leaves_out_what_kedro_leaves_out(data):
    # By name, Kedro does not see that x@w is what x@r needs.
    nodes = [n for n in data.draw(graphs()) if not any("@" in o for o in n["outputs"])]
    ours, theirs = both([{**n, "inputs": [i for i in n["inputs"] or [] if "@" not in i] or None} for n in nodes])
    states = {d: data.draw(st.sampled_from([True, False, None])) for d in sorted(ours.datasets())}
    catalog = DataCatalog({d: MemoryDataset() if there is None else Kept(there) for d, there in states.items()})
    runs = SequentialRunner()._filter_pipeline_for_missing_outputs(theirs, catalog)
    parts = select({"all": ours}, Selection(only_missing_outputs=True), states.get)
    assert {n.name for part in parts.values() for n in part.nodes} == {n.name for n in runs.nodes}


@BUDGET
@given(st.data())
def test_arithmetic_is_that_of_kedro(data):
    nodes = data.draw(graphs())
    parts = [data.draw(st.lists(st.sampled_from(nodes), unique_by=lambda n: n["name"])) for _ in range(2)]
    (a, b), (c, d) = both(parts[0]), both(parts[1])
    assert about(a + c) == about(b + d) == about(a | c) == about(b | d) == about(sum([a, c]))
    assert about(a - c) == about(b - d)
    assert about(a & c) == about(b & d)


@BUDGET
@given(st.data())
def test_other_names_are_those_of_kedro(data):
    nodes = data.draw(graphs())
    ours, theirs = both(nodes)

    def some(names):
        picked = data.draw(st.lists(st.sampled_from(sorted(names)), unique=True, max_size=3)) if names else []
        return {name: name.replace("d", "new") for name in picked} if data.draw(st.booleans()) else set(picked)

    bases = {name.partition("@")[0] for name in ours.datasets()}
    renamed = {
        "inputs": some({b for b in bases if not b.startswith("param")}),
        "outputs": some({b for b in bases if not b.startswith("param")}),
        "parameters": some({"p", "params:q.r", "parameters"}),
        "namespace": data.draw(st.sampled_from([None, "x", "x.y"])),
        "tags": data.draw(st.sampled_from([None, "more", ["a", "b"]])),
        "prefix_datasets_with_namespace": data.draw(st.booleans()),
    }
    assert outcome(lambda: pipeline(ours, **renamed), PokemlError) == outcome(
        lambda: kedro.pipeline(theirs, **renamed), (PipelineError, ValueError)
    )
