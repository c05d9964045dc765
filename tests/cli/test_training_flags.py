"""Every flag of Hugging Face's ``TrainingArguments`` that needs no other hardware."""

import dataclasses

import pytest
from transformers import TrainingArguments

from dnachunk.random import mix
from tests.cli.conftest import SMALL

VALUES = {
    "per_device_train_batch_size": "3",
    "num_train_epochs": "1",
    "max_steps": "3",
    "learning_rate": "1e-4",
    "lr_scheduler_type": "linear",
    "lr_scheduler_kwargs": '{"min_lr": 1e-6}',
    "warmup_steps": "1",
    "optim": "adafactor",
    "optim_args": "momentum=0.9",
    "weight_decay": "0.1",
    "adam_beta1": "0.8",
    "adam_beta2": "0.9",
    "adam_epsilon": "1e-6",
    "gradient_accumulation_steps": "2",
    "average_tokens_across_devices": "false",
    "max_grad_norm": "0",
    "label_smoothing_factor": "0.1",
    "bf16": "true",
    "bf16_full_eval": "true",
    "activation_checkpointing": "true",
    "activation_checkpointing_kwargs": '{"use_reentrant": false}',
    "gradient_checkpointing": "true",
    "gradient_checkpointing_kwargs": '{"use_reentrant": false}',
    "use_cache": "true",
    "neftune_noise_alpha": "1",
    "torch_empty_cache_steps": "1",
    "auto_find_batch_size": "true",
    "logging_strategy": "no",
    "logging_steps": "1",
    "logging_first_step": "true",
    "log_on_each_node": "false",
    "logging_nan_inf_filter": "false",
    "include_num_input_tokens_seen": "non_padding",
    "log_level": "error",
    "log_level_replica": "error",
    "disable_tqdm": "true",
    "report_to": "none",
    "run_name": "a name",
    "project": "a project",
    "eval_strategy": "no",
    "eval_steps": "1",
    "eval_delay": "1",
    "per_device_eval_batch_size": "1",
    "eval_on_start": "true",
    "eval_do_concat_batches": "true",
    "eval_use_gather_object": "true",
    "eval_accumulation_steps": "1",
    "include_for_metrics": "loss",
    "batch_eval_metrics": "true",
    "save_only_model": "true",
    "save_strategy": "no",
    "save_steps": "1",
    "save_on_each_node": "true",
    "save_total_limit": "1",
    "enable_jit_checkpoint": "true",
    "load_best_model_at_end": "true",
    "metric_for_best_model": "loss",
    "greater_is_better": "false",
    "ignore_data_skip": "true",
    "restore_callback_states_from_checkpoint": "true",
    "full_determinism": "true",
    "seed": "3",
    "data_seed": "4",
    "use_cpu": "true",
    "accelerator_config": '{"even_batches": false}',
    "dataloader_drop_last": "true",
    "dataloader_num_workers": "1",
    "dataloader_pin_memory": "false",
    "dataloader_in_order": "false",
    "remove_unused_columns": "true",
    "label_names": "labels",
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "length",
    "ddp_find_unused_parameters": "true",
    "ddp_bucket_cap_mb": "1",
    "ddp_broadcast_buffers": "true",
    "ddp_static_graph": "true",
    "ddp_timeout": "100",
    "skip_memory_metrics": "false",
    "debug": "underflow_overflow",
    "prediction_loss_only": "true",
    "do_train": "true",
    "do_eval": "true",
    "do_predict": "true",
    "local_rank": "0",
}
BESIDE = {
    "optim_args": ["--optim", "sgd"],
    "lr_scheduler_kwargs": ["--lr-scheduler-type", "cosine_with_min_lr"],
    "eval_steps": ["--eval-strategy", "steps"],
    "logging_steps": ["--logging-strategy", "steps"],
    "save_steps": ["--save-strategy", "steps"],
    "greater_is_better": ["--metric-for-best-model", "loss"],
    "prediction_loss_only": ["--metric-for-best-model", "loss"],
    "activation_checkpointing_kwargs": ["--activation-checkpointing"],
    "gradient_checkpointing_kwargs": ["--gradient-checkpointing"],
}
ELSEWHERE = {
    "output_dir": "the commands' own",
    "resume_from_checkpoint": "has tests of its own",
    "ddp_backend": "several processes",
    **dict.fromkeys(
        ("torch_compile", "torch_compile_backend", "torch_compile_mode"), "the models are compiled in theirs"
    ),
    **dict.fromkeys(
        ("fp16", "fp16_full_eval", "tf32", "fsdp", "fsdp_config", "deepspeed", "parallelism_config"),
        "other hardware",
    ),
    **dict.fromkeys(("use_liger_kernel", "liger_kernel_config", "optim_target_modules"), "other packages"),
    **dict.fromkeys(
        (
            *("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy"),
            *("hub_always_push", "hub_revision"),
            *("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        ),
        "the network",
    ),
    **dict.fromkeys(
        (
            *("dataloader_persistent_workers", "dataloader_prefetch_factor"),
            "dataloader_multiprocessing_context",
        ),
        "workers are started once, for dataloader_num_workers",
    ),
}
FLAGS = [
    field.name
    for field in dataclasses.fields(TrainingArguments)
    if field.init and field.name in VALUES and field.name not in ELSEWHERE
]


def test_every_flag_is_tried_or_said_why_not():
    known = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    assert known <= VALUES.keys() | ELSEWHERE.keys()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "train.csv"
    rows = [
        "".join("ACGT"[mix(row, place) % 4] for place in range(20 + mix(row) % 8)) + f",{row % 2}"
        for row in range(24)
    ]
    path.write_text("sequence,label\n" + "\n".join(rows) + "\n")
    return path


def few_steps(flag, batch):
    words = [] if flag in ("max_steps", "num_train_epochs") else ["--max-steps", 2]
    return words + ([] if flag == "per_device_train_batch_size" else ["--per-device-train-batch-size", batch])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("flag", FLAGS)
def test_finetune_takes_it(run, model, labelled, tmp_path, flag):
    result = run(
        *("finetune", "--model", model, "--train", labelled, "--output-dir", tmp_path / "out"),
        *(*few_steps(flag, 4), *BESIDE.get(flag, []), f"--{flag.replace('_', '-')}", VALUES[flag]),
    )
    assert result.status == 0, result.err
    assert (tmp_path / "out" / "model.safetensors").is_file()


PRETRAINING_FLAGS = [
    flag
    for flag in FLAGS
    if flag not in ("num_train_epochs", "prediction_loss_only", "load_best_model_at_end")
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("flag", PRETRAINING_FLAGS)
def test_pretrain_takes_it(run, fasta, tmp_path, flag):
    result = run(
        *("pretrain", "--fasta", fasta, "--output-dir", tmp_path / "out", "--eval-windows", 2, *SMALL),
        *(*few_steps(flag, 2), *BESIDE.get(flag, []), f"--{flag.replace('_', '-')}", VALUES[flag]),
    )
    assert result.status == 0, result.err
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--report-to", "wandb"], "requires wandb to be installed"),
        (["--optim", "adamw_bnb_8bit"], "bitsandbytes"),
        (["--use-liger-kernel"], "liger-kernel"),
        (["--prediction-loss-only"], "--metric loss"),
        (["--load-best-model-at-end", "false"], "--load-best-model-at-end is what fine-tuning does"),
        (["--gradient-accumulation-steps", "0"], "--gradient-accumulation-steps must be a whole number"),
        (["--per-device-train-batch-size", "0"], "--per-device-train-batch-size must be a whole number"),
        (["--torch-compile-mode", "foo"], "--torch-compile-mode: Unrecognized mode=foo"),
        (["--optim-args", "foo"], "--optim-args must be name=value"),
    ],
)
def test_what_cannot_be_done_is_told(run, model, labelled, tmp_path, words, said):
    short = ["--max-steps", 2] + (
        [] if "--per-device-train-batch-size" in words else few_steps("max_steps", 4)
    )
    result = run(
        *("finetune", "--model", model, "--train", labelled, "--output-dir", tmp_path / "out", *short, *words)
    )
    assert result.status in (1, 2)
    assert said in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert not (tmp_path / "out" / "model.safetensors").exists()
