"""The dialogue game: agents that see and agents that have read talk until these know the class.

Paper: Evtimova, Drozdov, Kiela & Cho, Emergent communication in a multi-modal, multi-step
referential game, ICLR 2018.

    python -m emcom_jax.main --config=configs/dialogue.py             drawn scenes, minutes
    python -m emcom_jax.main --config=configs/dialogue.py:VARIANT

    debug          seconds; combines with the others: debug,adaptive
    fixed          REINFORCE as published, all turns are played
    adaptive       the same, and the listener decides when to stop: the published README's settings
    attention      adaptive, and the speaker attends to a map of the scene
    reinforce      the default, with sampled bits and REINFORCE
    relaxed        the default, with relaxed bits in place of straight-through ones
    continuous     real vectors for bits: a control
    cost           the default, and each turn costs
    one_way        the speaker hears no answers
    both_see       each of four agents sees half of the scene, speaks and listens
    community      three populations in a chain, of which only neighbours talk
    clusters       32 classes, some of which are hard to tell apart, and short turns

A speaker sees features of a scene, a listener has read descriptions of the classes, which withhold
the noun. On the split 'ood' it chooses among descriptions of classes that nobody was trained on,
on 'transfer' among those of a family that nobody has seen.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

ROLES = ('speaker', 'listener')


def _optimizers(**keys: object) -> dict[str, object]:
    """The same optimiser for speakers and listeners."""
    return {f'optimizer.{role}.{key}': value for role in ROLES for key, value in keys.items()}


METRICS = ('accuracy', 'voting', 'top_k', 'turns', 'dialogues')

SMALL = {
    'training_steps': 12_000,
    'data.name': 'shapes_features',
    'data.batch_size': 64,
    'game.name': 'dialogue',
    'game.input_noise': 0.5,
    'channel.kind': 'bernoulli_st',
    'channel.length': 4,
    'channel.vocab_size': 16,
    'channel.variable_length': True,
    'speaker.hidden_size': 256,
    'listener.hidden_size': 64,
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.listener.name': 'classification',
    **_optimizers(name='adam', learning_rate=1e-3, clip_norm=1.0),
    'evaluation.every': 1000,
    'evaluation.metrics': METRICS,
    'evaluation.best_metric': 'accuracy',
}

REINFORCE = {
    'channel.kind': 'bernoulli',
    'loss.speaker.name': 'reinforce',
    'loss.speaker.reward': 'log_likelihood',
    **{f'optimizer.{role}.clip_apart': (f'{role}/baseline',) for role in ROLES},
}

# The command in the published README; 500 epochs of 3,000 images in batches of 64.
PUBLISHED = REINFORCE | {
    'training_steps': 23_500,
    'game.input_noise': 0.0,
    'channel.length': 10,
    'channel.vocab_size': 32,
    'loss.speaker.entropy': 0.01,
    'loss.listener.entropy': 0.01,
    **_optimizers(name='rmsprop', learning_rate=1e-4, schedule='constant', clip_norm=1.0),
}
ADAPTIVE = PUBLISHED | {'channel.variable_length': True, 'loss.listener.stop_entropy': 0.08}

VARIANTS = {
    'small': SMALL,
    'fixed': PUBLISHED | {'channel.variable_length': False},
    'adaptive': ADAPTIVE,
    'attention': ADAPTIVE | {'speaker.attention': 256},
    'reinforce': REINFORCE | {'loss.speaker.entropy': 0.01, 'loss.listener.entropy': 0.01},
    'relaxed': {'channel.kind': 'relaxed_bernoulli'},
    'continuous': {'channel.kind': 'continuous'},
    'cost': {'loss.speaker.length_cost': 0.05},
    'one_way': {'speaker.deaf': True},
    'both_see': {
        'listener.sees': True,
        'population.num_speakers': 4,
        'population.num_listeners': 4,
        'population.pairs_per_step': 4,
        # Speaker i and listener i + 1 stand for one agent, which does not talk with itself. (Of
        # dialogues with listener i the records keep every turn.)
        'population.graph': tuple((i, j) for i in range(4) for j in range(4) if j != (i + 1) % 4),
    },
    'community': {
        'population.num_speakers': 6,
        'population.num_listeners': 6,
        'population.pairs_per_step': 6,
        # Two agents of each role in a community; the last of one talks with the first of the next.
        'population.graph': tuple(
            (speaker, listener)
            for speaker in range(6)
            for listener in range(6)
            if speaker // 2 == listener // 2 or {speaker, listener} in ({1, 2}, {3, 4})
        ),
    },
    # Nobody can name a class in one turn; some classes are alone, others in clusters of up to 8.
    'clusters': {
        'training_steps': 4000,
        'data.name': 'clusters',
        'data.num_features': 32,
        'data.feature_noise': 0.5,
        'data.num_images': 32_768,
        'game.input_noise': 0.0,
        'channel.length': 8,
        'channel.vocab_size': 3,
        'speaker.hidden_size': 128,
        # Whoever is sure to go on never learns what to believe before the end.
        'loss.listener.stop_entropy': 0.1,
        **_optimizers(learning_rate=3e-3),
        'evaluation.every': 0,  # The best would be that which talks longest.
    },
    'debug': {
        'training_steps': 6,
        'log_train_data_interval': 2,
        'save_checkpoint_interval': 3,
        'data.num_images': 64,
        'data.image_size': 16,
        'data.batch_size': 8,
        'channel.length': 3,
        'channel.vocab_size': 4,
        'speaker.hidden_size': 8,
        'speaker.baseline_size': 4,
        'listener.hidden_size': 8,
        'listener.baseline_size': 4,
        'listener.word_size': 6,
        'population.updates_per_call': 3,
        'evaluation.every': 3,
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(f'small,{variant}' if variant else 'small', VARIANTS)
