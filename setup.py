"""Installs the packages `emcom_jax` and `emcom_datasets`; recipes stay in the checkout."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name='emcom_jax',
    version='0.1.0',
    description='Populations of speakers and listeners that learn to communicate, in JAX and Haiku',
    long_description=Path(__file__).with_name('README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['emcom_jax*', 'emcom_datasets*']),
    package_data={'emcom_jax.report': ['*.html']},
    install_requires=[
        'absl-py',
        'array_record',  # TFDS stores its datasets in it.
        'chex',
        'dm-haiku>=0.0.16',
        'dm-pix',
        'editdistance',
        'grain',
        'jax>=0.9,!=0.10.2',  # 0.10.2 miscompiles on a CPU: jax issue 39103.
        'jaxlib>=0.9,!=0.10.2',
        'jaxline>=0.0.8',
        'jinja2',
        'jmp',
        'matplotlib',
        'ml-collections>=1.0',
        'ml_dtypes',
        'numpy',
        'optax',
        'orbax-checkpoint>=0.11',
        'pillow',
        'rapidfuzz',
        'rich',
        'scikit-image>=0.26',  # For the photographs in its wheel.
        'scikit-learn',
        'scipy',
        'tensorboardX',
        'tensorflow-datasets>=4.9.7',
        'tqdm',
    ],
    extras_require={
        'wordnet': ['nltk'],  # For its data, which it downloads.
        'hdf5': ['h5py'],  # To read and write dialogues as they were published.
    },
)
