"""What other tools call our keys, so that a recipe written from habit is answered with the right name."""

_OTHER_NAMES = {
    "train.epochs": "num_train_epochs num_epochs max_epochs n_epochs epoch nb_epochs",
    "train.lr": "learning_rate base_lr max_lr initial_lr peak_lr",
    "train.batch_size": "per_device_train_batch_size per_gpu_train_batch_size train_batch_size micro_batch_size "
    "mini_batch_size batch bs batchsize",
    "train.accumulate": "gradient_accumulation_steps gradient_accumulation accumulate_grad_batches grad_accum "
    "grad_accum_steps accumulation_steps",
    "train.precision": "mixed_precision amp fp16 bf16 torch_dtype dtype use_amp",
    "train.optimizer": "optim opt optimizer_type optimizer_name",
    "train.schedule": "lr_scheduler_type lr_scheduler scheduler sched lr_schedule",
    "train.warmup": "warmup_ratio warmup_steps warmup_epochs num_warmup_steps warmup_proportion",
    "train.weight_decay": "wd decay l2 l2_penalty",
    "train.clip": "max_grad_norm gradient_clip_val gradient_clipping grad_clip clip_grad clip_grad_norm",
    "train.patience": "early_stopping_patience early_stopping early_stop",
    "train.seed": "random_seed random_state manual_seed data_seed",
    "train.save_steps": "save_every checkpoint_every checkpointing_steps save_interval",
    "train.budget": "max_time time_limit time_budget max_train_time",
    "train.balance": "class_weight class_weights weighted_loss",
    "train.label_smoothing": "label_smoothing_factor smoothing",
    "train.augment": "augmentation augmentations auto_augment aa data_augmentation",
    "train.objective": "loss loss_fn criterion",
    "train.threads": "num_threads n_threads cpu_threads",
    "tune.method": "peft_type adapter_type adapter peft finetuning_type finetune_method tuner",
    "tune.rank": "r lora_r lora_rank lora_dim",
    "tune.alpha": "lora_alpha scale_alpha",
    "tune.dropout": "lora_dropout adapter_dropout",
    "tune.rslora": "use_rslora",
    "tune.dora": "use_dora",
    "tune.layer_decay": "llrd layerwise_lr_decay layer_wise_lr_decay lr_layer_decay layer_lr_decay",
    "tune.pooling": "pooling_mode pool global_pool pooler pooling_strategy",
    "model.name": "base_model model_name_or_path model_name model_path pretrained_model_name_or_path "
    "pretrained_model model_id backbone arch",
    "model.weights": "checkpoint init_checkpoint initial_checkpoint resume_from weights_path state_dict",
    "data.train": "dataset dataset_name train_file train_data train_path train_dataset training_data data_path "
    "data_dir datasets path",
    "data.eval": "validation_file eval_file test_file val valid validation dev test eval_data eval_dataset val_data "
    "validation_data test_data",
    "data.eval_share": "val_size validation_split test_size val_split test_split validation_size eval_split",
    "data.group": "group_column group_col groups group_by groupby group_key document_id",
    "data.limit": "max_train_samples max_samples nrows num_samples sample",
    "data.text": "text_column text_column_name text_field sentence sentence1 sentence1_key text_a content",
    "data.text_pair": "sentence2 sentence2_key text_b",
    "data.image": "image_column image_column_name image_path img",
    "data.label": "label_column label_column_name label_field target_column labels class y",
    "data.max_length": "max_seq_length max_len model_max_length cutoff_len sequence_len max_tokens",
    "data.image_size": "img_size input_size image_resolution resolution crop_size",
    "export.quantize": "quantization quantisation quantise quant weight_type bits qtype load_in_8bit",
    "export.max_drop": "max_accuracy_drop accuracy_drop tolerance",
    "export.max_size": "max_model_size size_limit",
    "export.max_latency": "latency latency_limit",
    "export.target": "platform device runtime",
    "export.dynamic_size": "dynamic_axes dynamic_shapes",
    "export.opset": "opset_version onnx_opset target_opset",
}

ALIASES: dict[str, str] = {alias: key for key, others in _OTHER_NAMES.items() for alias in others.split()}
"""Another tool's name to our section.key. A key of ours is never looked up here."""

_OTHER_SECTIONS = {
    "model": "base pretrained network",
    "data": "dataset datasets dataset_args data_args",
    "tune": "lora peft adapter finetune finetuning method lora_config peft_config",
    "train": "training trainer training_args training_arguments hyperparameters hparams optimizer scheduler",
    "export": "deploy deployment onnx quantization output quantize",
}

SECTION_ALIASES: dict[str, str] = {alias: name for name, others in _OTHER_SECTIONS.items() for alias in others.split()}
"""Another tool's name of a whole section to ours."""
