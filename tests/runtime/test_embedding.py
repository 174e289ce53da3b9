from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsvlm_cli.errors import BundleCorrupt
from rsvlm_cli.runtime.bundle import Bundle, read_bundle
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.int4 import BlockScheme, dequantise_rows, quantise_rows
from tests.bundle_factory import make_bundle, write_embedding


def open_table(bundle: Bundle, path: Path, table: np.ndarray, scheme: str | BlockScheme) -> TokenEmbedding:
    spec = write_embedding(bundle.path / path.name, table, scheme)
    decoder = replace(bundle.manifest.decoder, vocab=table.shape[0], hidden=table.shape[1])
    return TokenEmbedding(replace(bundle, manifest=replace(bundle.manifest, embedding=spec, decoder=decoder)))


@pytest.fixture(scope="session")
def table() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(50, 72)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_rows_are_those_of_the_table(bundle_copy: Bundle, table: np.ndarray, scheme: str) -> None:
    embedding = open_table(bundle_copy, Path("table.bin"), table, scheme)
    ids = np.array([49, 0, 7, 7])
    assert np.array_equal(embedding.rows(ids), table.astype(scheme)[ids].astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_rows_are_those_of_the_whole_table(bundle_copy: Bundle, table: np.ndarray, bits: int) -> None:
    scheme = BlockScheme(bits=bits, block=32)  # 72 columns: the last block is padded
    embedding = open_table(bundle_copy, Path("table.bin"), table, scheme)
    ids = np.array([3, 49, 3])
    assert np.array_equal(embedding.rows(ids), dequantise_rows(quantise_rows(table, scheme))[ids])


@pytest.mark.parametrize("scheme", ["float16", BlockScheme(bits=4, block=32)], ids=str)
def test_no_ids_give_no_rows(bundle_copy: Bundle, table: np.ndarray, scheme: str | BlockScheme) -> None:
    assert open_table(bundle_copy, Path("table.bin"), table, scheme).rows(np.empty(0, np.int64)).shape == (0, 72)


def test_stored_zero_points_are_read(bundle_copy: Bundle, table: np.ndarray) -> None:
    scheme = BlockScheme(bits=4, block=32)
    rows = quantise_rows(table, scheme, symmetric=False)
    assert rows.zero_points is not None
    parts = [rows.packed.tobytes(), rows.scales.tobytes(), rows.zero_points.tobytes()]
    (bundle_copy.path / "table.bin").write_bytes(b"".join(parts))
    spec = replace(
        bundle_copy.manifest.embedding, file="table.bin", offset=0, scheme=scheme, scales_offset=len(parts[0]),
        zero_points_offset=len(parts[0]) + len(parts[1]),
    )  # fmt: skip
    decoder = replace(bundle_copy.manifest.decoder, vocab=50, hidden=72)
    manifest = replace(bundle_copy.manifest, embedding=spec, decoder=decoder)
    embedding = TokenEmbedding(replace(bundle_copy, manifest=manifest))
    assert np.array_equal(embedding.rows(np.arange(50)), dequantise_rows(rows))


def test_a_table_beyond_its_file_is_refused(bundle_copy: Bundle, table: np.ndarray) -> None:
    spec = write_embedding(bundle_copy.path / "table.bin", table, "float32")
    manifest = replace(bundle_copy.manifest, embedding=spec)  # the decoder's vocabulary is larger than 50
    with pytest.raises(BundleCorrupt, match="the embedding ends at"):
        TokenEmbedding(replace(bundle_copy, manifest=manifest))


def test_a_quantised_embedding_survives_the_manifest(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "q", scheme=BlockScheme(bits=4, block=32))
    spec = read_bundle(bundle.path).manifest.embedding
    assert spec.scheme == BlockScheme(bits=4, block=32)
    assert spec == bundle.manifest.embedding
