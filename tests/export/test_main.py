from export.__main__ import main, summarise
from export.quantise import TensorError
from rsvlm_cli.runtime.bundle import read_bundle


def test_the_command_writes_a_bundle_and_says_what_it_cost(tmp_path, checkpoint_folder, capsys):
    out = tmp_path / "b"
    assert main([str(checkpoint_folder), str(out), "--profile", "int4", "--block", "16", "--vision", "dynamic"]) == 0
    quantisation = read_bundle(out).manifest.quantisation
    assert (quantisation["experts"], quantisation["vision"]) == ("int4 b16", "dynamic")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("decoder experts") and "int4 b16" in line for line in lines)
    assert lines[-1].startswith(f"{out}: tiny, int4, ")


def test_every_tensor_is_listed_on_demand(tmp_path, checkpoint_folder, capsys):
    assert main([str(checkpoint_folder), str(tmp_path / "b"), "--profile", "int8", "--errors"]) == 0
    assert "decoder.layers.1.experts.down_proj.weight" in capsys.readouterr().out


def test_a_fault_is_one_line_and_its_exit_code(tmp_path, checkpoint_folder, capsys):
    assert main([str(tmp_path / "nothing"), str(tmp_path / "b")]) == 4
    assert main([str(checkpoint_folder), str(tmp_path / "b"), "--block", "7"]) == 2
    assert main([str(checkpoint_folder), str(checkpoint_folder)]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith("error: ") for line in errors)


def test_errors_are_summed_up_by_part_and_scheme():
    errors = [
        TensorError(name="decoder.layers.0.experts.down_proj.weight", scheme="int4 b32", relative=0.1),
        TensorError(name="decoder.layers.1.experts.down_proj.weight", scheme="int4 b32", relative=0.2),
        TensorError(name="decoder.embed_tokens.weight", scheme="int8 b32", relative=0.01),
    ]
    experts, embedding = summarise(errors)
    assert " ".join(experts.split()) == "decoder experts int4 b32 2 tensors, relative error 0.1500 (greatest 0.2000)"
    assert embedding.startswith("decoder embed_tokens")
