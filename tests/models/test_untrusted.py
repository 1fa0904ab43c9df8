"""Weights files from a stranger: whatever they hold gives one clear line, runs no code and takes bounded memory."""

import collections
import faulthandler
import io
import json
import os
import pickle
import random
import socket
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.config import DetectorConfig, SRALConfig
from models.detector import build_detector
from models.encoders import Encoder
from models.weights import load_detector, load_sral, read_header, save_weights
from tests.helpers import small_network
from tools.convert_released import read_checkpoint
from tools.prune import prune
from utils import torch_file
from utils.torch_file import read_torch_file

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
SMALL = 192 << 20
"""Bytes that reading any of these files may add to the process. What takes more comes from a file as large as that."""


@contextmanager
def memory_for(size: int = SMALL) -> Iterator[None]:
    """Lets the process grow by `size` bytes and no more: what wants more gets a MemoryError or a RuntimeError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def no_network(monkeypatch):
    """No socket opens: whoever tries ends the test, not just the call."""

    def refuse(*_: object) -> None:
        raise BaseException("a socket was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def problem(read, path: Path) -> str | None:
    """The one line with which a file is refused, or None where it is read."""
    try:
        with memory_for():
            read(path)
    except ValueError as error:
        said = str(error)
        return said if said.isprintable() and len(said) < 2000 else f"not one line: {said!r}"
    return None


def refusal(read, path: Path) -> str:
    """The one line, naming the file, with which it is refused."""
    said = problem(read, path)
    assert said is not None, "it was read"
    assert said.startswith(("weights", "encoder weights", str(path)))
    assert str(path) in said
    return said


# ---- weights files: safetensors with a configuration


def changed(config: dict, where: str, value: object) -> dict:
    """The configuration with one value replaced; `where` is its keys, joined by dots."""
    first, _, rest = where.partition(".")
    return config | {first: changed(config[first], rest, value) if rest else value}


def weights_file(path: Path, config: str | dict, tensors: dict | None = None, **metadata: str) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    header = {"format": "sral", "kind": "training", "config": text, "about": "{}"}
    save_file(tensors or {"detector.x": torch.zeros(1)}, path, header | metadata)
    return path


LIMIT = 65_536
CONFIGURATIONS = {
    "detector.width": [10**9, LIMIT + 1, 0, -64, "64", 64.0, True, None, [64], float("nan"), float("inf"), 10**4000],
    "detector.head_channels": [[10**9, 1], [64], [64, 64, 64], [[8], [8]], "ab", 8, {}, [8, "8"], [8, -8]],
    "detector.input_size": [[10**6, 10**6], [32, 4128], [224], [224.5, 224], [0, 0], [-32, 32], ["a", "b"], 224],
    "detector.mean": [[0.1, 0.2], [0.1] * 4, ["a", "b", "c"], [float("nan")] * 3, [float("inf")] * 3, [-1, 0, 0], 0.5],
    "detector.std": [[0, 0, 0], [1e-300] * 3, [True] * 3, [10**400] * 3, [[0.1], [0.1], [0.1]], None],
    "detector.encoder": [5, None, ["resnet18"], "", "resnet19", "resnet18.nothing", "vit_tiny_patch16_224"],
    "detector.tokens": [
        5,
        [],
        "vit_tiny_patch16_224",
        {"network": "resnet18"},
        {"network": "vit_none_patch16"},
        {"network": 5},
        {"grid": [10**6, 10**6]},
        {"grid": [129, 8]},
        {"grid": [0, 8]},
        {"grid": 8},
        {"blocks": [0]},
        {"blocks": [-1]},
        {"blocks": []},
        {"blocks": [2, 1]},
        {"blocks": [1, 1]},
        {"blocks": [10**5]},
        {"blocks": [*range(1, 18)]},
        {"blocks": 6},
        {"weights": "x"},
    ],
    "asrd.fuse_channels": [[10**9, 8, 8], [10**18] * 3, [8, 8], None],
    "asrd.up_channels": [[8, 8, 10**9], [0, 0, 0]],
    "asrd.shallow_kernel": [5, True, "1"],
    "asrd.residual": ["evil", 1, None],
    "tfgm.affinity": ["evil", []],
    "deep_supervision": ["yes", 1, None],
    "detector": [None, 5, [], "x", {"a\n\x1b[31mb": 1}, {"\ud800": 1}],
    "more\nlines": [1],
}


def test_configurations_without_sense_are_refused(tmp_path, no_network):
    plain, path = asdict(SRALConfig(DetectorConfig("resnet18"))), tmp_path / "stranger.safetensors"
    for where, values in CONFIGURATIONS.items():
        for value in values:
            weights_file(path, changed(plain, where, value))
            for read in (load_detector, load_sral):
                said = refusal(read, path)
                assert "not fit" not in said, f"{where} = {value!r:.50} was taken"


STRANGE_NAMES = [
    "hf_hub:evil/repo",
    "hf-hub:evil/repo",
    "timm/resnet18",
    "resnet18.hf-hub:evil/repo",
    "HF-HUB:evil/repo",
]
STRANGE_NAMES += ["local-dir:HERE", "HERE", "../resnet18", "resnet18/../../x", "resnet18\n", "resnet18 ", "r" * 10**6]


def test_an_encoder_is_one_of_timms_own(tmp_path, no_network):
    """timm itself would read a folder for local-dir:, and ask the network for hf-hub:."""
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 5}))
    plain, path = asdict(SRALConfig()), tmp_path / "stranger.safetensors"
    for name in STRANGE_NAMES:
        weights_file(path, changed(plain, "detector.encoder", name.replace("HERE", str(tmp_path))))
        for read in (load_detector, load_sral, read_header):
            assert "must be the name of one of timm's own networks" in refusal(read, path)
        tokens = {"network": name.replace("HERE", str(tmp_path))}
        weights_file(path, changed(plain, "detector.tokens", tokens))
        for read in (load_detector, load_sral, read_header):
            assert "tokens.network must be the name of one of timm's own" in refusal(read, path)


HUGE = {
    "timm's largest": [("detector.encoder", "swinv2_cr_giant_384")],
    "all widths": [
        ("detector.width", LIMIT), ("detector.head_channels", [LIMIT] * 2), ("asrd.shallow_channels", LIMIT),
        ("asrd.fuse_channels", [LIMIT] * 3), ("asrd.up_channels", [LIMIT] * 3),
    ],
    "timm's largest plain transformer": [("detector.tokens", {"network": "vit_giant_patch14_dinov2"})],
    "a large input": [("detector.encoder", "coat_tiny"), ("detector.input_size", [4096, 4096])],
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_a_network_larger_than_its_file_is_never_built(case, tmp_path):
    config = asdict(SRALConfig(DetectorConfig("resnet18")))
    for where, value in HUGE[case]:
        config = changed(config, where, value)
    path = weights_file(tmp_path / "stranger.safetensors", config)
    for read in (load_detector, load_sral):
        assert "does not fit the network: missing" in refusal(read, path)


def test_tables_that_no_file_holds_are_counted_too(tmp_path):
    """A network of 7 MB, all of it in the file, whose tables of positions would take 67 GB."""
    config = DetectorConfig("test_coatnet", width=8, head_channels=(8, 8), input_size=(4096, 4096))
    with torch.device("meta"):
        outline = build_detector(config)
    tensors = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in outline.state_dict().items()}
    path = weights_file(tmp_path / "tables.safetensors", asdict(config), tensors, kind="inference")
    assert path.stat().st_size < 20 << 20
    assert "its network would take" in refusal(load_detector, path)


BOMB = "[" * 400_000


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"config": BOMB}, "cannot be read"),
        ({"config": '{"detector":' * 300 + "{}" + "}" * 300}, "nested more than"),
        ({"config": json.dumps({"detector": {"encoder": "x" * (1 << 20)}})}, "1,048,"),
        ({"config": "{'detector'"}, "cannot be read"),
        ({"config": "null"}, "expected named values"),
        ({"config": '{"detector": {"width": ' + "9" * 5000 + "}}"}, "cannot be read"),
        ({"about": BOMB}, "cannot be read"),
        ({"about": '{"a":' + "[" * 100 + "]" * 100 + "}"}, "nested more than"),
        ({"about": "[1]"}, "expected named values"),
        ({"kind": "evil"}, "not one of ours"),
        ({"format": "pt"}, "not one of ours"),
    ],
    ids=range(11),
)
def test_what_a_file_says_about_itself_is_bounded(metadata, why, tmp_path):
    path = tmp_path / "stranger.safetensors"
    config = asdict(SRALConfig(DetectorConfig("resnet18")))
    weights_file(path, metadata.pop("config", config), **metadata)
    for read in (load_detector, read_header, lambda path: prune(path, path.with_name("out.safetensors"))):
        assert why in refusal(read, path)
    assert os.listdir(tmp_path) == [path.name]


def raw(header: bytes | dict, data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    """A safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list, end: int, start: int = 0, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


RAW = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "text": b"hello, this is no weights file at all",
    "length of 2^64 - 1": raw({}, length=2**64 - 1),
    "length of 2^63": raw({}, length=2**63),
    "length of 1 GB": raw({}, length=10**9),
    "length beyond the end": raw({}, length=67),
    "length of nothing": raw({}, length=0),
    "length within the header": raw({"a": tensor([16], 64)}, length=9),
    "a header of 9 MB": raw(b"{" + b" " * (9 << 20) + b"}"),
    "many names": raw({str(i): tensor([0], 0) for i in range(150_000)}, b""),
    "not UTF-8": raw(b"\xff\xfe{}"),
    "nested": raw(b'{"a":' + b"[" * 100_000),
    "a list": raw(b"[]"),
    "shape too large": raw({"a": tensor([2**62, 2**62], 64)}),
    "shape of 4 TB": raw({"a": tensor([10**12], 4 * 10**12)}),
    "shape negative": raw({"a": tensor([-1, -16], 64)}),
    "shape no number": raw({"a": tensor(["x"], 64)}),
    "offsets backwards": raw({"a": tensor([16], 0, 64)}),
    "offsets beyond": raw({"a": tensor([32], 128)}),
    "offsets shared": raw({"a": tensor([16], 64), "b": tensor([16], 64)}),
    "unknown type": raw({"a": tensor([16], 64, dtype="EVIL")}),
    "metadata no text": raw({"__metadata__": {"format": 5}, "a": tensor([16], 64)}),
    "metadata a list": raw({"__metadata__": ["sral"], "a": tensor([16], 64)}),
}


@pytest.mark.parametrize("case", RAW)
def test_broken_headers_are_refused(case, tmp_path):
    path = tmp_path / "stranger.safetensors"
    path.write_bytes(RAW[case])
    for read in (load_detector, load_sral, read_header):
        said = refusal(read, path)
        assert "not a safetensors file" in said or "not one of ours" in said
    assert "not a readable state dict" in refusal(lambda path: Encoder("test_resnet", str(path)), path)


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.Tensor]:
    """All tensors of `TINY`'s detector."""
    torch.manual_seed(0)
    return build_detector(TINY).state_dict()


TINY = DetectorConfig("test_resnet", width=4, head_channels=(4, 4), input_size=(32, 32))


def tiny_file(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    return weights_file(path, asdict(TINY), tensors, kind="inference")


def test_tensors_of_another_type_or_shape_are_refused(tmp_path, tiny):
    path = tmp_path / "stranger.safetensors"
    weight, count = "tsdd.head.predict.weight", "ppm.reduce.1.num_batches_tracked"
    assert load_detector(tiny_file(path, tiny)).config == TINY
    wrong = {
        weight: [tiny[weight].to(dtype) for dtype in (torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn)],
        count: [torch.tensor(1.0), torch.tensor(1, dtype=torch.uint8)],
    }
    for key, values in wrong.items():
        for value in values:
            assert f"{key} is of the type" in refusal(load_detector, tiny_file(path, tiny | {key: value}))
    for value in (torch.zeros(0), torch.zeros(10**6), tiny[weight][None], tiny[weight][:, :, :2].contiguous()):
        assert f"misshapen {weight}" in refusal(load_detector, tiny_file(path, tiny | {weight: value}))
    said = refusal(load_detector, tiny_file(path, tiny | {"a\nb\x1b[31m" + "c" * 5000: torch.zeros(1)}))
    assert "extra a b" in said


def test_encoder_weights_of_another_type_are_refused(tmp_path):
    state = dict(Encoder("test_resnet").body.state_dict())
    first = next(iter(state))
    save = {".safetensors": save_file, ".pth": torch.save}
    for suffix, dtype in (
        (".safetensors", torch.float8_e4m3fn),
        (".safetensors", torch.complex64),
        (".pth", torch.int64),
    ):
        path = tmp_path / f"stranger{suffix}"
        save[suffix](state | {first: state[first].to(dtype)}, path)
        assert f"{first} is of the type {dtype}" in refusal(lambda path: Encoder("test_resnet", str(path)), path)


def mutated(content: bytes, reach: int, seed: int) -> bytes:
    """The file with some bytes among the first `reach` changed, or cut off somewhere."""
    draw, out = random.Random(seed), bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5])):
        out[draw.randrange(reach)] = draw.choice([0, 255, draw.randrange(256), ord("9"), ord("-"), ord('"')])
    return bytes(out[: draw.randrange(len(out))] if draw.random() < 0.1 else out)


FUZZ = int(os.environ.get("SRAL_FUZZ", "60"))
"""Files of each kind that are drawn at random; the environment variable SRAL_FUZZ asks for more."""


def test_random_damage_is_refused_or_harmless(tmp_path, tiny, record_property):
    path = tmp_path / "stranger.safetensors"
    content = tiny_file(path, tiny).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for seed in range(FUZZ):
        path.write_bytes(mutated(content, header, seed))
        if said := problem(load_detector, path):
            refused += 1
            assert said.startswith(f"weights {path}: ")
    assert refused > FUZZ / 2
    record_property("refused", f"{refused} of {FUZZ}")


def test_reading_takes_no_more_than_the_file_and_its_network(tmp_path):
    """28 MB of fp16 become 56 MB of network."""
    path = tmp_path / "half.safetensors"
    detector = build_detector(DetectorConfig("resnet18", width=256)).half()
    save_weights(path, detector)
    with memory_for(3 * path.stat().st_size + (16 << 20)):
        load_detector(path)


# ---- .pth files: pickles


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def pickled(value: object, protocol: int = 2) -> bytes:
    """A pickle in which ("storage", name, count) stands for a storage of floats, as torch.save has it."""

    class Pickler(pickle._Pickler):  # the plain one lets Call hand over functions by their names
        def persistent_id(self, item):
            found = isinstance(item, tuple) and len(item) == 3 and item[0] == "storage"
            return ("storage", torch.FloatStorage, item[1], "cpu", item[2]) if found else None

    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def zipped(data_pkl: bytes, packing: int = zipfile.ZIP_STORED, **storages: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, content in storages.items():
            archive.writestr(f"archive/data/{name}", content)
    return out.getvalue()


def streamed(state: bytes, *storages: tuple[str, int, bytes]) -> bytes:
    """The older format: (name, number of elements, bytes) of each storage behind four pickles."""
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    behind = b"".join(struct.pack("<q", count) + content for _, count, content in storages)
    return start + state + pickle.dumps([name for name, _, _ in storages], 2) + behind


def described(size, stride, offset=0, count=4, name="s") -> bytes:
    """The pickle of {"w": a tensor on a storage that has `count` elements}."""
    rest = (offset, size, stride, False, collections.OrderedDict())
    return pickled({"w": Call(torch._utils._rebuild_tensor_v2, ("storage", name, count), *rest)})


FOUR = struct.pack("<4f", 1, 2, 3, 4)
DEEP = b")" + b"\x85" * 150_000
PAIRS = b"".join(b"U\x05%05dN\x86" % number for number in range(100_000))
COPIES = b"\x80\x02ccollections\nOrderedDict\nq\x00](" + PAIRS + b"eq\x01" + b"h\x00h\x01\x85R" * 100_000 + b"N."

PICKLES = {
    "os.system": pickled({"w": Call(os.system, "touch TOUCHED")}),
    "os.system, newest protocol": pickled({"w": Call(os.system, "touch TOUCHED")}, 5),
    "exec": pickled({"w": Call(exec, "open('TOUCHED', 'w')")}),
    "eval in a dict's state": pickled(Call(collections.OrderedDict, state={"x": Call(eval, "open('TOUCHED', 'w')")})),
    "by the old opcode INST": b"\x80\x02(S'touch TOUCHED'\nios\nsystem\n.",
    "by the old opcode OBJ": b"\x80\x02(cos\nsystem\nX\x0d\x00\x00\x00touch TOUCHEDo.",
    "by an extension code": b"\x80\x02\x82\x01)R.",
    "a name within an allowed module": b"\x80\x02ctorch._utils\n_import_dotted_name\nX\x02\x00\x00\x00os\x85R.",
    "a name behind dots": b"\x80\x02ccollections\nOrderedDict.fromkeys\n)R.",
    "torch.load itself": pickled({"w": Call(torch.load, "evil.pth")}),
    "torch.hub": pickled({"w": Call(torch.hub.load, "evil/repo", "x")}),
    "a bytearray of 2 GB": pickled({"w": Call(bytearray, 2 * 10**9)}),
    "a tensor of 40 GB": pickled({"w": Call(torch.Tensor, 10**10)}),
    "a set": pickled({"w": {1, 2}}, 4),
    "a whole network": pickled(torch.nn.Sequential(torch.nn.ReLU())),
    "deep tuples": b"\x80\x02}U\x01w" + DEEP + b"s.",
    "deep tuples for a key": b"\x80\x02}" + DEEP + b"Ns.",
    "deep lists": b"\x80\x02" + b"]" * 150_000 + b"a" * 149_999 + b".",
    "copies of one dict": COPIES,
    "a memo of 68 GB": b"\x80\x02}r\xff\xff\xff\xff" + b"(X\x01\x00\x00\x00wK\x01t.",
    "a string of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 16 EB": b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.",
    "250,000 dicts": b"\x80\x02" + b"}" * 250_000 + b".",
    "nothing": b"",
    "no end": b"\x80\x02}",
    "an end only": b"\x80\x02.",
    "too many marks": b"\x80\x02ttt.",
    "more taken than put": b"\x80\x02R.",
    "a number for a dict": b"\x80\x02K\x01K\x01K\x01s.",
    "a storage that is none": b"\x80\x02K\x05Q.",
    "a storage of another kind": b"\x80\x02X\x04\x00\x00\x00evil\x85Q.",
    "a storage by a text id": b"\x80\x02Pevil\n.",
}  # fmt: skip
TENSORS = {
    "expanded to 40 GB": described((10**10,), (0,)),
    "expanded a little": described((8,), (0,)),
    "longer than its storage": described((10**10,), (1,)),
    "beyond its storage": described((4,), (1,), offset=1),
    "by its stride": described((2, 2), (1, 3)),
    "before its storage": described((4,), (1,), offset=-1),
    "of negative size": described((-4,), (1,)),
    "of negative stride": described((4,), (-1,)),
    "of too large numbers": described((2**200, 2**200), (1, 1)),
    "of nothing, but large": described((0, 2**62, 2**62), (1, 1, 1)),
    "of a single, far step": described((1, 1), (2**100, 2**62)),
    "of fractions": described((4.0,), (1,)),
    "of many sizes": described((1,) * 100_000, (1,) * 100_000),
    "of uneven size and stride": described((4,), (1, 1)),
    "of nested sizes": described(((4,),), (1,)),
    "on a storage that says 40 GB": described((10**10,), (1,), count=10**10),
    "on a storage that says less": described((2,), (1,), count=2),
    "on a negative storage": described((4,), (1,), count=-4),
    "on a storage that is not there": described((4,), (1,), name="elsewhere"),
    "on no storage": pickled({"w": Call(torch._utils._rebuild_tensor_v2, None, 0, (4,), (1,), False, None)}),
    "on a storage outside": described((4,), (1,), name="../data.pkl"),
}


@pytest.fixture
def somewhere(tmp_path, monkeypatch) -> Path:
    """A file in a folder of its own, which is the working directory too: what a pickle touches would appear there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "stranger.pth"


@pytest.fixture
def forked(monkeypatch) -> None:
    """The child that reads a file is forked, which takes milliseconds, instead of started, which takes seconds."""

    def run(path: Path, target: Path, _timeout: float) -> "subprocess.CompletedProcess[str]":
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    faulthandler.disable()
                    os.dup2(said.fileno(), 2)
                    torch_file.main(path, target)
                    code = 0
                except SystemExit as error:
                    os.write(2, str(error.code).encode())
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            return subprocess.CompletedProcess([], code, "", said.read().decode(errors="replace"))

    monkeypatch.setattr(torch_file, "_run_child", run)


READERS = [read_checkpoint, lambda path: Encoder("test_resnet", str(path))]


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("case", PICKLES)
def test_pickles_that_are_no_state_dict_run_nothing(case, somewhere, no_network):
    for content, read in ((zipped, 0), (streamed, 1), (bytes, 0), (bytes, 1)):
        somewhere.write_bytes(content(PICKLES[case]))
        said = refusal(READERS[read], somewhere)
        assert "state dict" in said
        assert os.listdir() == [somewhere.name]


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("case", TENSORS)
def test_tensors_beyond_their_storage_are_refused_or_small(case, somewhere):
    for content in (zipped(TENSORS[case], s=FOUR), streamed(TENSORS[case], ("s", 4, FOUR))):
        somewhere.write_bytes(content)
        refusal(READERS[1], somewhere)  # whatever it holds, it is no encoder's
        if problem(READERS[0], somewhere) is None:
            assert all(value.numel() <= 8 for value in read_checkpoint(somewhere).values())
        else:
            assert "not a plain state dict" in refusal(READERS[0], somewhere)


BOMBS = {
    "deep tuples for a key": zipped(PICKLES["deep tuples for a key"]),
    "a tensor of 40 GB": zipped(TENSORS["expanded to 40 GB"], s=FOUR),
    "a bytearray of 2 GB": zipped(PICKLES["a bytearray of 2 GB"]),
    "a storage of 40 GB": streamed(TENSORS["on a storage that says 40 GB"], ("s", 10**10, FOUR)),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_ends_the_child_alone(case, somewhere, tmp_path_factory, monkeypatch):
    """The real child, as commands start it; this process goes on with one line, and leaves no file behind."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    somewhere.write_bytes(BOMBS[case])
    assert "not a plain state dict" in refusal(read_checkpoint, somewhere)
    assert tempfile.gettempdir() == str(temporary)
    assert not list(temporary.iterdir())
    assert os.listdir() == [somewhere.name]


def test_a_file_that_takes_too_long_is_refused(somewhere, monkeypatch):
    torch.save({"w": torch.zeros(1)}, somewhere)
    monkeypatch.setattr(torch_file, "SECONDS", -29.99)  # 2 × SECONDS + 60: 20 ms
    assert "takes longer than 0 s" in refusal(read_checkpoint, somewhere)


@pytest.mark.usefixtures("forked")
def test_archives_that_grow_are_refused(somewhere):
    zeros = b"\0" * (400 << 20)
    tensors = described((100 << 20,), (1,), count=100 << 20)
    somewhere.write_bytes(zipped(tensors, zipfile.ZIP_DEFLATED, s=zeros))
    assert somewhere.stat().st_size < 1 << 20
    for read in READERS:
        assert "compressed records" in refusal(read, somewhere)
    for lie in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):  # sizes in the list of records
        content = zipped(described((4,), (1,)), s=FOUR)
        at = content.rindex(b"PK\1\2") + 20
        somewhere.write_bytes(content[:at] + lie * 2 + content[at + 8 :])
        problem(read_checkpoint, somewhere)
    somewhere.write_bytes(zipped(described((4,), (1,)), s=FOUR) + b"PK\1\2" * 100_001)
    refusal(read_checkpoint, somewhere)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("older", [False, True])
def test_random_damage_to_a_pickle_is_refused_or_harmless(older, somewhere, record_property):
    state = {"conv.weight": torch.ones(2, 3), "norm.bias": torch.zeros(2, dtype=torch.float16), "epoch": 3}
    torch.save(state, somewhere, _use_new_zipfile_serialization=not older)
    content, refused = somewhere.read_bytes(), 0
    for seed in range(2 * FUZZ):
        somewhere.write_bytes(mutated(content, len(content), seed))
        if said := problem(read_torch_file, somewhere):
            refused += 1
            assert not said.startswith("not one line")
    assert refused
    record_property("refused", f"{refused} of {2 * FUZZ}")


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("older", [False, True])
def test_what_torch_saves_is_read_as_torch_reads_it(older, somewhere):
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    state = collections.OrderedDict(whole=whole, part=whole[1:3, ::2], turned=whole.t(), one=torch.tensor(3))
    dtypes = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    state |= {str(dtype): (100 * whole).abs().to(dtype) for dtype in (*dtypes, torch.bool)}
    state |= {"empty": torch.zeros(0, 3), "trained": torch.nn.Parameter(whole.clone()), "wide": torch.zeros(1, 3).mT}
    more = state | {"none": None, "epoch": 3}
    for saved in (more, {"epoch": 3, "model": more}, {"state_dict": more, "optimizer": {"lr": [0.1, (1, True)]}}):
        torch.save(saved, somewhere, _use_new_zipfile_serialization=not older)
        found = read_torch_file(somewhere)
        assert list(found) == list(state)
        for key, value in state.items():
            assert found[key].dtype == value.dtype, key
            assert torch.equal(found[key], value), key
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), somewhere, _use_new_zipfile_serialization=not older)
    expected = torch.load(somewhere, weights_only=True)
    assert all(torch.equal(value, expected[key]) for key, value in read_torch_file(somewhere).items())


def test_a_whole_network_in_training_still_reads_back(tmp_path):
    network, path = small_network("mobilenetv2_100"), tmp_path / "run.safetensors"
    save_weights(path, network)
    read = load_sral(path).state_dict()
    assert all(torch.equal(value, read[key]) for key, value in network.state_dict().items())
