"""Storage, inputs and plans of inference.cluster, without a cluster."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.helpers import ROOT
from utils.files import new_path

pytest.importorskip("fsspec")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from inference.cluster.addresses import public, without_secrets  # noqa: E402
from inference.cluster.bundles import ImageWork  # noqa: E402
from inference.cluster.inputs import find_inputs  # noqa: E402
from inference.cluster.manifest import ManifestWriter, Row  # noqa: E402
from inference.cluster.plan import make_plan  # noqa: E402
from inference.cluster.retrying import StoreError, patiently  # noqa: E402
from inference.cluster.storage import Folder  # noqa: E402
from inference.cluster.worker import Outcome  # noqa: E402


def wanted(source: object, output: object) -> Namespace:
    return Namespace(input=str(source), output=str(output), dataset=None, root=None, split=None, scene=False)


def test_a_file_is_written_only_where_none_is(tmp_path) -> None:
    folder = Folder(str(tmp_path))
    assert folder.put_new("a/b.png", b"first")
    assert not folder.put_new("a/b.png", b"second")
    assert (tmp_path / "a" / "b.png").read_bytes() == b"first"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
    with pytest.raises(FileExistsError), new_path(tmp_path / "a" / "b.png") as temporary:
        temporary.write_bytes(b"third")


def test_lists_in_text_and_parquet_name_their_outputs_alike(tmp_path) -> None:
    lines = ["a/1.png", "s3://bucket/deep/x/2.jpg", "s3://bucket/deep/3.jpg?X-Amz-Signature=abc"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    parquet.write_table(pa.table({"size": [1, 2, 3], "path": lines}), tmp_path / "list.parquet")
    for name in ("list.txt", "list.parquet"):
        found = find_inputs(wanted(tmp_path / name, tmp_path / "maps"))
        assert list(found.stems) == ["a/1", "x/2", "3"]
        assert list(found.sources) == [str(tmp_path / "a" / "1.png"), *lines[1:]]


def test_a_plan_keeps_the_batches_of_one_process(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"{number}.png" for number in range(10)))
    folder = Folder(str(tmp_path / "maps"))
    manifest = ManifestWriter(folder)
    for number in (0, 1, 2, 3, 5):
        manifest.add(Row(f"{number}.png", f"{number}.png", error="broken" if number == 2 else None))
    manifest.flush()
    plan = make_plan(find_inputs(wanted(tmp_path / "list.txt", folder)), folder, ".png", resume=True)
    assert plan.kept == 4
    assert list(plan.batches(4)) == [((4, 5, 6, 7), (4, 6, 7)), ((8, 9), (8, 9)), ((2,), (2,))]


@pytest.mark.parametrize("attempts", [1, 3])
def test_an_image_is_set_aside_after_so_many_deaths_alone_and_its_batch_stays_together(tmp_path, attempts) -> None:
    """Workers that die of image 5 are played by the test."""
    (tmp_path / "list.txt").write_text("\n".join(f"{number}.png" for number in range(10)))
    folder = Folder(str(tmp_path / "maps"))
    plan = make_plan(find_inputs(wanted(tmp_path / "list.txt", folder)), folder, ".png", resume=False)
    rows: list[Row] = []
    job = Namespace(options=Namespace(batch_size=4))
    work = ImageWork(plan, job, attempts, False, rows.append)
    alone, batches = 0, []
    while not work.is_finished():
        task = work.next(1)
        assert task is not None
        bundle = task.arguments[1]
        items = [item for batch in bundle.batches for item in batch]
        if any(item.number == 5 and not item.aside for item in items):
            alone += len(items) == 1
            work.died(task, "it died")
            continue
        made = [Row(item.source, item.output, written=True) for item in items if item.wanted and not item.aside]
        batches += [] if bundle.probe else [[item.number for item in batch] for batch in bundle.batches]
        work.done(task, Outcome("worker", [] if bundle.probe else made))
    assert alone == attempts
    assert sorted(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sorted(row.output for row in rows) == [f"{number}.png" for number in range(10)]
    assert [(row.output, row.kind) for row in rows if row.error] == [("5.png", "killed its worker")]


def test_transient_errors_are_tried_again_and_others_are_not(monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    calls: list[int] = []

    def busy() -> str:
        calls.append(1)
        if len(calls) < 4:
            raise OSError(5, "503 Slow Down https://user:secret@host/a?sig=secret")
        return "content"

    assert patiently(busy, "x") == "content"
    calls.clear()
    with pytest.raises(FileNotFoundError):
        patiently(lambda: Path("/nonexistent/file").read_text(), "x")

    def always() -> None:
        raise OSError(5, "503 at https://user:secret@host/a?sig=secret")

    with pytest.raises(StoreError) as raised:
        patiently(always, "x cannot be read")
    assert "secret" not in str(raised.value)


def test_addresses_hide_credentials() -> None:
    assert public("https://user:word@host/a/b.png?X-Amz-Signature=1") == "https://host/a/b.png"
    assert without_secrets("GET 'https://u:p@h/x?sig=1' failed") == "GET 'https://h/x' failed"


def test_help_waits_for_neither_torch_nor_dask() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['dask'] = sys.modules['distributed'] = None;"
        "sys.argv = ['inference.cluster', '--help']; import runpy;"
        "runpy.run_module('inference.cluster', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--scheduler ADDRESS" in done.stdout
