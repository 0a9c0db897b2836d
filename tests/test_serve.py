"""`pokeml serve` as real processes: what it answers, refuses, logs and counts, and how it goes on and ends."""

import gzip
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import schemathesis
from conftest import Copy
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from serving import serve, wait_until

from pokeml.predictor import load_predictor
from pokeml.serve_rows import plain_row

ROUTES = {"/predict": "predictor", "/predict/statistics": "statistics_predictor"}


def files(project: Copy) -> dict[str, Path]:
    return {name: project.root / "data" / "06_models" / f"{name}.skops" for name in ROUTES.values()}


@pytest.fixture(scope="module")
def predictors(made_predictors):
    return {path: load_predictor(files(made_predictors)[name]) for path, name in ROUTES.items()}


@pytest.fixture(scope="module")
def rows(predictors) -> list[dict]:
    """The rows of the test part, raw."""
    table = predictors["/predict"].examples()
    test = table[table["part"] == "test"]
    rows = [{"name": name} | plain_row(row.drop(["part", "primary_type"])) for name, row in test.iterrows()]
    assert len(rows) > 10
    return rows


def as_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("path", ROUTES)
def test_answers_are_those_of_predict(server, predictors, rows, path):
    wanted = as_json(predictors[path].predict(rows))
    assert all(answer["prediction"] for answer in wanted)
    assert server.ask("POST", path, rows)[:2] == (200, wanted)  # in a thread
    for row in rows:  # in the loop
        assert server.ask("POST", path, row)[:2] == (200, as_json(predictors[path].predict(row)))
    query = "&".join(f"{name}={value}" for name, value in rows[0].items() if not isinstance(value, str))
    assert server.ask("GET", f"{path}?{query}")[1]["ranking"]


def test_statistics_need_no_against(server, rows):
    few = {name: value for name, value in rows[0].items() if not name.startswith("against_")}
    assert server.ask("POST", "/predict/statistics", few)[0] == 200
    status, problem, headers = server.ask("POST", "/predict", few)
    assert status == 422 and headers["content-type"] == "application/problem+json"
    assert {"row": 0, "column": "against_bug", "message": "is missing"} in problem["errors"]


def test_a_bad_row_does_not_keep_the_others_from_their_answers(server, rows):
    bad = [rows[0] | {"hp": "many"}, rows[0] | {"hp": None}, rows[0] | {"hp": 1e308}, "no row", None]
    status, answers, _ = server.ask("POST", "/predict?top=1", [*rows[:2], *bad, rows[2]])
    assert status == 200 and [a["prediction"] is None for a in answers] == [False] * 2 + [True] * 5 + [False]
    assert [a["errors"][0]["column"] for a in answers[2:7]] == ["hp"] * 3 + [None] * 2
    assert len(answers[0]["ranking"]) == 1


def test_what_is_wrong_is_told_as_a_problem(server, rows):
    huge = b'{"hp": 1' + b"0" * 5000 + b"}"
    for body in (b"", b"{", b'{"hp": NaN}', b"\xff\xfe", b"[" * 5000, huge):
        status, problem, headers = server.ask("POST", "/predict", body)
        assert status in (400, 422) and headers["content-type"] == "application/problem+json"
        assert problem["status"] == status and problem["title"] and problem["instance"] == "/predict"
    for method, path, wanted in [
        ("GET", "/nowhere", 404),
        ("DELETE", "/predict", 405),
        ("POST", "/predict?top=0", 422),
        ("GET", "/examples?name=Pikachoo", 404),
        ("GET", "/predict?hp=many", 422),
    ]:
        status, problem, headers = server.ask(method, path, b"{}" if method == "POST" else None)
        assert (status, headers["content-type"]) == (wanted, "application/problem+json"), path
        assert problem["request_id"] == headers["x-request-id"]


@pytest.fixture
def credentials(made_predictors):
    path = made_predictors.write("conf/local/credentials.yml", "api: {keys: [mellon, friend]}")
    yield
    path.unlink()


def test_keys_and_limits(made_predictors, credentials, tmp_path, rows):
    """A file of its own: small limits, keys, and a route with parameters that is asked by GET only."""
    config = tmp_path / "api.yml"
    needed = [c.name for c in load_predictor(files(made_predictors)["statistics_predictor"]).columns if c.required]
    parameters = "".join(f"      {name}: {{type: float}}\n" for name in needed)
    config.write_text(
        "title: Small\nsecurity: true\nlimits: {body: 5000, rows: 3, seconds: 0.7}\nroutes:\n"
        "  many: {predictor: statistics_predictor}\n"
        f"  one:\n    predictor: statistics_predictor\n    method: GET\n    parameters:\n{parameters}"
        "      height_m: {type: float, default: 1.5, maximum: 9}\n"
    )
    with serve(made_predictors, tmp_path / "log", "--config", str(config), API_SECRET_KEY="open sesame") as small:
        key = {"x_token": "open sesame"}
        row = {name: rows[0][name] for name in needed}
        query = "&".join(f"{name}={value}" for name, value in row.items())
        # security
        for path in ("/many", "/model", "/metrics", "/examples", "/nowhere"):
            for headers in (
                {},
                {"x_token": "open"},
                {"authorization": "Bearer open"},
                {"authorization": "open sesame"},
            ):
                status, problem, told = small.ask("GET", path, **headers)
                assert (status, told["www-authenticate"], problem["status"]) == (401, "Bearer", 401)
        for path in ("/health", "/ready", "/docs", "/openapi.json", "/"):
            assert small.ask("GET", path)[0] == 200
        for known in ("open sesame", "mellon", "friend"):
            assert small.ask("GET", "/model", authorization=f"Bearer {known}")[0] == 200
        # limits
        assert small.ask("POST", "/many", [row] * 3, **key)[0] == 200
        assert small.ask("POST", "/many", [{}] * 4, **key)[0] == 413
        assert small.ask("POST", "/many", b" " * 5001, **key)[0] == 413
        with socket.create_connection(small.at) as slow:
            head = f"POST /many HTTP/1.1\r\nHost: x\r\nX-Token: {key['x_token']}\r\n"
            slow.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n1388\r\n".encode() + b" " * 5000 + b"\r\n1\r\n \r\n")
            assert slow.recv(100).startswith(b"HTTP/1.1 413")
        with socket.create_connection(small.at) as slow:
            slow.sendall(f"{head}Content-Length: 10\r\n\r\n[".encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 408")  # and nobody else waits for it
        # parameters
        assert small.ask("POST", "/one", row, **key)[0] == 405
        assert small.ask("GET", f"/one?{query}", **key)[0] == 200
        status, problem, _ = small.ask("GET", f"/one?{query}&height_m=10", **key)
        assert (status, problem["errors"]) == (422, [{"row": 0, "column": "height_m", "message": "must be 9 or less"}])
        assert "open sesame" not in small.log.read_text() and small.stop(signal.SIGINT) == 0


def test_requests_are_logged_with_their_ids_and_without_values(server, rows):
    secret = rows[0] | {"name": "Sesamvalue", "height_m": 7.7731}
    sent = [
        server.ask("POST", "/predict", secret, x_request_id="my-id.1"),
        server.ask("POST", "/predict", [secret | {"hp": "Sesamvalue"}], x_request_id="bad id\t{}"),
        server.ask("GET", "/predict?hp=Sesamvalue&height_m=7.7731"),
        server.ask("POST", "/predict", b'{"Sesamvalue": 7.7731'),
        server.ask("GET", "/Sesamvalue"),
        server.ask("GET", "/examples?name=Sesamvalue"),
    ]
    ids = [headers["x-request-id"] for _, _, headers in sent]
    assert ids[0] == "my-id.1" and re.fullmatch("[0-9a-f]{16}", ids[1])
    lines = {line["request_id"]: line for line in server.lines() if line["event"] == "request"}
    assert {"route": "/predict", "status": 200, "rows": 1, "errors": 0}.items() <= lines[ids[0]].items()
    assert {"route": "/predict", "status": 200, "errors": 1}.items() <= lines[ids[1]].items()
    assert lines[ids[4]]["route"] == "none" and lines[ids[0]]["ms"] > 0
    text = server.log.read_text()
    assert "Sesamvalue" not in text and "7.7731" not in text


def test_metrics(server, rows):
    server.ask("POST", "/predict", [rows[0], rows[0] | {"hp": "many"}])
    server.ask("GET", "/nowhere")
    status, text, headers = server.ask("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    for wanted in (
        r'pokeml_requests_total{method="POST",route="/predict",status="200"} [1-9]',
        r'pokeml_requests_total{method="GET",route="none",status="404"} [1-9]',
        r'pokeml_request_seconds_bucket{le="0.1",route="/predict"} [1-9]',
        r'pokeml_rows_total{route="/predict"} [1-9]',
        r'pokeml_answers_total{label="\w+",route="/predict"} [1-9]',
        r'pokeml_row_errors_total{column="hp",route="/predict"} [1-9]',
    ):
        assert re.search("^" + wanted, text, re.MULTILINE), wanted


def test_cards_and_readiness(server, made_predictors, predictors):
    model = server.ask("GET", "/model")[1]
    assert [route["path"] for route in model["routes"]] == list(ROUTES)
    for route in model["routes"]:
        predictor = predictors[route["path"]]
        assert route["card"] == as_json(predictor.card) and route["classes"] == predictor.classes
        assert [column["name"] for column in route["columns"]] == [column.name for column in predictor.columns]
    hp = next(column for column in model["routes"][0]["columns"] if column["name"] == "hp")
    assert {"type": "int", "required": True, "minimum": 1, "maximum": 255}.items() <= hp.items() and hp["low"] < hp[
        "high"
    ]
    ready = server.ask("GET", "/ready")[1]
    assert ready["ready"] and set(ready["predictors"]) == set(ROUTES.values())
    assert server.ask("GET", "/health")[:2] == (200, {"status": "alive"})


def test_documentation_has_examples_that_work_and_loads_nothing_from_outside(server):
    told = server.ask("GET", "/openapi.json")[1]
    for path in ROUTES:
        examples = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            status, answer, _ = server.ask("POST", path, example["value"])
            assert status == 200 and (answer if isinstance(answer, dict) else answer[0])["prediction"]
    for page in ("/", "/docs"):
        status, html, headers = server.ask("GET", page)
        assert status == 200 and "//" not in re.sub(r"// .*|/\^.*?/", "", html)
        assert headers["content-security-policy"].startswith("default-src 'none'")
    assert gzip.compress(server.ask("GET", "/docs/swagger-ui-bundle.js")[1].encode())


def test_no_request_makes_it_fail(server):
    """Rows, right and wrong, that schemathesis makes from the documentation: no answer that this does not tell of."""
    told = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    wanted = [not_a_server_error, checks.response_schema_conformance, checks.content_type_conformance]
    wanted.append(checks.status_code_conformance)
    quiet = settings(
        max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    operations = [found.ok() for found in told.get_all_operations()]
    assert len(operations) == 9
    for operation in operations:
        for mode in GenerationMode:

            @quiet
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case):
                case.validate_response(case.call(timeout=30), checks=wanted)

            try:
                ask()
            except Unsatisfiable:  # what takes nothing cannot be given anything wrong
                assert mode is GenerationMode.NEGATIVE and operation.path not in ROUTES


def test_a_new_predictor_is_taken_over_without_losing_a_request(made_predictors, tmp_path, rows):
    path = tmp_path / "predictor.skops"
    old, new = files(made_predictors)["predictor"], files(made_predictors)["statistics_predictor"]

    def put(data: bytes) -> None:
        beside = path.with_suffix(".new")
        beside.write_bytes(data)
        os.replace(beside, path)

    put(old.read_bytes())
    (tmp_path / "api.yml").write_text("routes: {predict: {predictor: predictor}}")
    arguments = ["--config", str(tmp_path / "api.yml"), "--predictor", str(path)]
    with serve(made_predictors, tmp_path / "log", *arguments) as running:
        statuses, stop = [], threading.Event()

        def ask_on():
            while not stop.is_set():
                statuses.append(running.ask("POST", "/predict", rows[0])[0])

        def now():
            return running.ask("GET", "/ready")[1]["predictors"]["predictor"]

        threads = [threading.Thread(target=ask_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        first = now()
        columns = [running.ask("GET", "/model")[1]["routes"][0]["columns"]]
        put(new.read_bytes())
        wait_until(lambda: now()["sha256"] != first["sha256"])
        columns.append(running.ask("GET", "/model")[1]["routes"][0]["columns"])
        second = now()
        put(new.read_bytes()[:5000])
        wait_until(lambda: now()["refused"])
        assert now()["sha256"] == second["sha256"] and "damaged" in now()["refused"]
        put(old.read_bytes())
        wait_until(lambda: now() == first | {"loaded_at": now()["loaded_at"]})
        stop.set()
        for thread in threads:
            thread.join()
        assert len(statuses) > 20 and set(statuses) == {200}
        assert len(columns[0]) > len(columns[1])
        metrics = running.ask("GET", "/metrics")[1]
        assert 'pokeml_reloads_total{outcome="taken",predictor="predictor"} 2' in metrics
        assert 'pokeml_reloads_total{outcome="refused",predictor="predictor"} 1' in metrics
        events = [line["event"] for line in running.lines()]
        assert events.count("a new predictor was taken over") == 2 and "a new predictor was refused" in events
        # SIGTERM: what has begun is answered, then it ends well
        answers = []
        many = rows[:5] * 600
        last = threading.Thread(target=lambda: answers.append(running.ask("POST", "/predict", many)))
        last.start()
        wait_until(lambda: running.ask("GET", "/health")[0] == 200)
        time.sleep(0.15)
        assert running.stop() == 0
        last.join()
        assert answers[0][0] == 200 and len(answers[0][1]) == len(many)


def test_several_workers_count_together_and_end_together(made_predictors, tmp_path, rows):
    with serve(made_predictors, tmp_path / "log", "--workers", "2", API_SECRET_KEY="unasked") as running:
        wait_until(lambda: running.log.read_text().count("Application startup complete") == 2, 60)
        for _ in range(10):
            assert running.ask("POST", "/predict", rows[0])[0] == 200
        assert 'pokeml_rows_total{route="/predict"} 10.0' in running.ask("GET", "/metrics")[1]
        assert running.log.read_text().count("API_SECRET_KEY is set, but api.yml does not say") == 1
        assert running.stop() == 0


def test_health_is_answered_while_many_rows_are(server, rows):
    many = json.dumps((rows * 200)[:5000]).encode()
    took = []
    thread = threading.Thread(target=lambda: took.append(server.ask("POST", "/predict", many)[0]))
    thread.start()
    waits = []
    while thread.is_alive():
        begun = time.perf_counter()
        assert server.ask("GET", "/health")[0] == 200
        waits.append(time.perf_counter() - begun)
    assert took == [200] and len(waits) > 3 and sorted(waits)[len(waits) // 2] < 0.5


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--predictor", "nowhere.skops"], "--predictor: nowhere.skops is not there"),
        (["--config", "wrong.yml"], "wrong.yml, line 3: unknown setting 'routes.a.pth'. Did you mean path?"),
        (["--config", "unknown.yml"], "unknown.yml, line 2: routes.a: the catalog has no dataset 'predicter'"),
        (["--config", "columns.yml"], "columns.yml, line 5: routes.a: predictor reads no 'hpp'. Did you mean hp?"),
        (["--config", "locked.yml"], "there is no key"),
    ],
)
def test_mistakes_are_told_before_it_starts(made_predictors, arguments, wanted):
    texts = {
        "wrong": "routes:\n  a:\n    pth: /a\n    predictor: predictor\n",
        "unknown": "routes:\n  a: {predictor: predicter}\n",
        "columns": "routes:\n  a:\n    predictor: predictor\n    parameters:\n      hpp: {type: int}\n",
        "locked": "security: true\nroutes: {a: {predictor: predictor}}\n",
    }
    for name, text in texts.items():
        made_predictors.write(f"{name}.yml", text)
    done = made_predictors.pokeml("serve", "--port", "0", *arguments)
    assert done.returncode == 2 and wanted in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_port_in_use_is_told(made_predictors, server):
    done = made_predictors.pokeml("serve", "--port", str(server.at[1]))
    assert done.returncode == 2 and "Address already in use. Choose another: --port" in done.stderr
    assert "Traceback" not in done.stderr
