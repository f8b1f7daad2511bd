"""People as receivers: the games, the server, the analysis, and the page in a real browser."""

import base64
import fcntl
import http.client
import io
import json
import socket
import statistics
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import DOWN, ENTER, RIGHT, chromium
from conftest import make_record
from PIL import Image

from emcom_jax.metrics import records
from emcom_jax.report import human_answers, human_games, play
from emcom_jax.report.play_server import Server, Session
from emcom_jax.runtime.files import write_json
from emcom_jax.runtime.run_directory import RunDirectoryError

ROOT = Path(__file__).parents[1]
CONFIG = {
    'channel': {'stroke': 'line', 'sigma2': 0.002, 'sigma2_end': None},
    'loss': {'listener': {'name': 'classification', 'label': 'class'}},
}
EXAMPLES, CANDIDATES = 40, 5
PEOPLE = 'ada', 'bo', 'cy'


def write_run(folder, *found, about=None):
    """A run directory with records, by their splits."""
    folder.mkdir()
    write_json(folder / 'config.json', CONFIG)
    if about is not None:
        write_json(folder / 'source.json', about)
    for record in found:
        records.save(record, folder / 'records' / f'{record.split}.npz')
    return folder


def drawings(seed=0):
    """Images in colours of their own; the game of each referent is among those of five."""
    rng = np.random.default_rng(seed)
    record = make_record(seed, kind='drawings')
    strokes = rng.uniform(-1, 1, (3, EXAMPLES, 8, 4)).astype(np.float32)
    images = np.broadcast_to(
        rng.integers(0, 256, (EXAMPLES, 1, 1, 3), np.uint8), (EXAMPLES, 16, 16, 3)
    )
    rows = np.arange(EXAMPLES, dtype=np.int32)
    first = rows // CANDIDATES * CANDIDATES
    games = {
        'rows': rows[::-1].copy(),
        'images': images[::-1].copy(),
        'image_rows': rows[::-1].copy(),
        'shown': rows,
        'candidates': (EXAMPLES - 1 - first[:, None] - np.arange(CANDIDATES, dtype=np.int32))[::-1],
        'target': (rows % CANDIDATES)[::-1],
        'picked': rng.integers(0, CANDIDATES, (3, 2, EXAMPLES), dtype=np.int32),
    }
    lengths = np.full((3, EXAMPLES), 8, np.int32)
    record = record._replace(split='test', messages=strokes, lengths=lengths)
    return record._replace(games=games, images=images, image_rows=rows)


def symbols(split='test', seed=0):
    record = make_record(seed, candidates=(4, 16))._replace(split=split)
    images = np.zeros((30, 8, 8, 3), np.uint8)
    images[..., 0], images[..., 1] = np.arange(10, 40)[:, None, None], seed
    return record._replace(images=images, image_rows=np.arange(10, 40))


def dialogues(split='test', seed=0):
    record = make_record(seed, kind='bits', candidates=(0,))._replace(split=split)
    said = np.round(record.messages)
    return record._replace(messages=said, synsets={'class': ('cat.n.01', 'a<b>', 'dog', 'emu')})


def colour(tile):
    return tuple(tile.picture[0, 0].tolist())


@pytest.fixture
def drawn(tmp_path):
    return write_run(tmp_path / 'drawn', drawings())


# --- games ---


def test_sketches_are_played_among_the_candidates_of_the_agents(drawn):
    record = drawings()
    setting = human_games.load(drawn, count=EXAMPLES)
    assert sorted(game.row for game in setting.games) == list(range(EXAMPLES))
    labels = record.labels['class']
    for game in setting.games:
        row = game.row
        first = row // CANDIDATES * CANDIDATES
        wanted = [record.images[first + k] for k in range(CANDIDATES)]
        np.testing.assert_array_equal([tile.picture for tile in game.candidates], wanted)
        assert game.target == row % CANDIDATES
        assert game.same_class == [labels[first + k] == labels[row] for k in range(CANDIDATES)]
        picked = record.games['picked'][0, 0, EXAMPLES - 1 - row]
        assert game.agent == float(picked == game.target)
        assert game.agent_class == float(game.same_class[picked])
        start = record.messages[0, row, 0]
        assert f'M{start[1]:.4f},{start[0]:.4f}' in game.message['sketch']


def test_everybody_plays_the_same_games(drawn):
    one, same, other = (human_games.load(drawn, count=8, seed=seed) for seed in (3, 3, 4))
    assert [game.row for game in one.games] == [game.row for game in same.games]
    assert one.digest == same.digest != other.digest
    longer = human_games.load(drawn, count=9, seed=3)
    assert longer.digest != one.digest
    assert len(human_games.load(drawn, count=99).games) == EXAMPLES


def test_other_records_are_other_games(tmp_path, drawn):
    moved = write_run(tmp_path / 'moved', drawings()._replace(step=13))
    assert human_games.load(moved).digest != human_games.load(drawn).digest


def test_without_the_rows_of_images_classes_are_not_known(tmp_path):
    record = drawings()
    del record.games['image_rows']
    game = human_games.load(write_run(tmp_path / 'old', record)).games[0]
    assert game.same_class is None and game.agent_class is None and game.agent is not None


def test_symbols_are_played_among_as_many_as_agents_had(tmp_path):
    record, valid = symbols(), symbols('valid', seed=1)
    setting = human_games.load(write_run(tmp_path / 'said', record, valid), count=20)
    assert len({game.row for game in setting.games}) == 20
    for game in setting.games:
        among = [colour(tile) for tile in game.candidates]
        assert len(set(among)) == 4 and among[game.target] == (game.row, 0, 0)
        classes = record.labels['class'][[row for row, *_ in among]]
        assert game.same_class == (classes == record.labels['class'][game.row]).tolist()
        assert game.agent == record.correct[0, 0, 0, game.row] and game.agent_class is None
        length = record.lengths[0, game.row]
        assert game.message == {'symbols': record.messages[0, game.row, :length].tolist()}
    assert len({game.target for game in setting.games}) == 4


def test_examples_are_the_most_similar_of_another_split(tmp_path):
    record, valid = symbols(), symbols('valid', seed=1)
    setting = human_games.load(write_run(tmp_path / 'said', record, valid), count=20)

    def spoken(one, row):
        return one.messages[0, row, : one.lengths[0, row]].tolist()

    def distance(one, other):  # By the definition, symbol by symbol.
        longer = max(len(one), len(other))
        return 1 - sum(a == b for a, b in zip(one, other, strict=False)) / longer

    for game in setting.games:
        own = spoken(record, game.row)
        found = [distance(own, message['symbols']) for _, message in game.examples]
        best = sorted(distance(own, spoken(valid, row)) for row in range(10, 40))
        shared = [value for value in best if value < 1]
        np.testing.assert_allclose(found, shared[: human_games.EXAMPLES])
        for tile, message in game.examples:
            row, split, _ = colour(tile)
            assert split == 1 and message['symbols'] == spoken(valid, row)
    assert any(game.examples for game in setting.games)


def test_without_another_split_there_are_no_examples(tmp_path):
    setting = human_games.load(write_run(tmp_path / 'said', symbols()))
    assert not any(game.examples for game in setting.games)


def test_end_symbols_are_not_shown(tmp_path):
    record = symbols()
    record.messages[0, :, 2] = 0
    record = record._replace(variable_length=True, lengths=np.full_like(record.lengths, 3))
    for game in human_games.load(write_run(tmp_path / 'said', record)).games:
        assert game.message['symbols'] == record.messages[0, game.row, :2].tolist()


def test_flat_pictures_are_shown_as_ink_on_paper(tmp_path):
    record = symbols()._replace(images=None, image_rows=None)
    record = record._replace(meanings=np.zeros((EXAMPLES, 6), np.float16))
    record.meanings[:, 0] = np.arange(EXAMPLES) / EXAMPLES
    run = write_run(tmp_path / 'flat', record, about={'image_shape': [2, 3]})
    game = human_games.load(run).games[0]
    shades = [tile.picture[..., 0] for tile in game.candidates]
    assert shades[0].shape == (2, 3) and all((shade[1] == 255).all() for shade in shades)
    order = np.argsort([shade[0, 0] for shade in shades])[::-1]
    assert 255 - shades[game.target][0, 0] == pytest.approx(255 * game.row / (EXAMPLES - 1), abs=1)
    assert len(order) == 4


def test_referents_without_pictures_are_told_in_writing(tmp_path):
    record = symbols()._replace(images=None, image_rows=None)
    record.labels['attributes'] = record.labels['attributes'][:, :1]  # Many are told alike.
    for game in human_games.load(write_run(tmp_path / 'said', record)).games:
        texts = [tile.text for tile in game.candidates]
        assert len(set(texts)) == 4
        values = ' '.join(map(str, record.labels['attributes'][game.row]))
        about = f'class {record.labels["class"][game.row]}, attributes {values}'
        assert texts[game.target] == about
    record = record._replace(labels={})
    with pytest.raises(RunDirectoryError, match='neither images nor labels'):
        human_games.load(write_run(tmp_path / 'mute', record))


def test_in_dialogues_classes_are_named(tmp_path):
    record, valid = dialogues(), dialogues('valid', seed=1)
    record.exchange['among'][1] = False
    record.labels['class'][record.labels['class'] == 1] = 0
    setting = human_games.load(write_run(tmp_path / 'talk', record, valid))
    answers = record.exchange['answers'][0]
    for game in setting.games:
        assert [tile.text for tile in game.candidates] == ['cat', 'dog', 'emu']
        label = record.labels['class'][game.row]
        assert game.target == [0, 2, 3].index(label)
        assert game.same_class == [k == game.target for k in range(3)]
        assert game.agent == game.agent_class == record.correct[0, 0, 0, game.row]
        turns, length = game.message['turns'], record.lengths[0, game.row]
        assert [turn['who'] for turn in turns] == (['speaker', 'listener'] * length)[:-1]
        said = [turn['values'] for turn in turns[::2]]
        np.testing.assert_array_equal(said, record.messages[0, game.row, :length])
        heard = np.array([turn['values'] for turn in turns[1::2]]).reshape(-1, 7)
        np.testing.assert_array_equal(heard, answers[game.row, : length - 1])
        assert len(game.examples) == human_games.EXAMPLES
        assert {tile.text for tile, _ in game.examples} <= {'cat', 'dog', 'emu'}


def test_classes_that_were_not_talked_about_have_no_examples(tmp_path):
    record, valid = dialogues(), dialogues('valid', seed=1)
    valid.labels['class'][:] = 3
    record.exchange['among'][3] = False
    record.labels['class'][record.labels['class'] == 3] = 0
    setting = human_games.load(write_run(tmp_path / 'talk', record, valid))
    assert not any(game.examples for game in setting.games)


def test_similar_dialogues_are_near():
    record = dialogues()
    distances = human_games.distances_to(record, 3, record)
    assert distances[3] == 0 and (np.delete(distances, 3) > 0).all()
    changed = dialogues()
    length = changed.lengths[0, 3]
    changed.exchange['answers'][0, 3, length - 1] *= -1  # Never heard,
    changed.messages[0, 3, length:] += 1  # never said.
    assert human_games.distances_to(record, 3, changed)[3] == 0
    changed.messages[0, 3, 0, 0] = 1 - changed.messages[0, 3, 0, 0]
    wanted = 1 / (14 * length)  # One of 14 bits of each turn.
    assert human_games.distances_to(record, 3, changed)[3] == pytest.approx(wanted)
    changed.lengths[0, 3] = 1
    record.lengths[0, 3] = 2
    np.testing.assert_allclose(
        human_games.distances_to(record, 3, changed)[3],
        (np.abs(record.exchange['answers'][0, 3, 0]).sum() / 14 + 1 / 14 + 1) / 2,
    )


def test_real_numbers_are_played_too(tmp_path):
    record = make_record(kind='continuous', candidates=(4,))._replace(split='test', exchange={})
    game = human_games.load(write_run(tmp_path / 'numbers', record)).games[0]
    assert {turn['who'] for turn in game.message['turns']} == {''}
    assert len(game.message['turns']) == record.lengths[0, game.row]


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda run: (run / 'config.json').unlink(), 'is not a run: it has no config.json'),
        (lambda run: (run / 'config.json').write_text('{'), 'is damaged'),
        (lambda run: (run / 'records' / 'test.npz').unlink(), 'no evaluation record'),
        (
            lambda run: records.save(drawings()._replace(games={}), run / 'records' / 'test.npz'),
            'keeps none: evaluate that split again',
        ),
    ],
)
def test_what_has_no_games_is_refused(drawn, change, said):
    change(drawn)
    with pytest.raises(RunDirectoryError, match=said):
        human_games.load(drawn)


def test_listeners_that_choose_among_nothing_are_refused(tmp_path):
    run = write_run(tmp_path / 'talk', dialogues())
    config = {**CONFIG, 'loss': {'listener': {'name': 'multi_classification'}}}
    write_json(run / 'config.json', config)
    with pytest.raises(RunDirectoryError, match='neither referents nor classes'):
        human_games.load(run)


def test_a_page_cannot_tell_which_is_right(drawn):
    setting = human_games.load(drawn)
    for game in setting.games:
        blind = game._replace(target=0, same_class=None, agent=None, agent_class=None, row=0)
        shown = human_games.shown(game)
        assert shown == human_games.shown(blind)
        for tile, sent in zip(game.candidates, shown['candidates'], strict=True):
            content = base64.b64decode(sent['picture'].partition(',')[2])
            with Image.open(io.BytesIO(content)) as picture:
                np.testing.assert_array_equal(picture, tile.picture)


# --- answers ---


def answer(participant='ada', game=0, **changes):
    return {
        'participant': participant, 'games': 'abc', 'game': game, 'of': 2, 'feedback': False,
        'split': 'test', 'step': 12, 'row': 5, 'candidates': 4, 'target': 1, 'picked': 1,
        'correct': True, 'same_class': True, 'agent': 1.0, 'agent_class': 1.0, 'seconds': 2.0,
        'answered_at': '2024-01-01T00:00:00+00:00',
    } | changes  # fmt: skip


def test_answers_are_kept_once(tmp_path):
    assert human_answers.read(tmp_path) == []
    assert human_answers.add(tmp_path, answer())
    assert not human_answers.add(tmp_path, answer(picked=3, correct=False))
    assert human_answers.add(tmp_path, answer(feedback=True))
    assert human_answers.add(tmp_path, answer('bo'))
    kept = human_answers.read(tmp_path)
    assert kept == [answer(), answer(feedback=True), answer('bo')]
    assert human_answers.played(tmp_path, 'abc', False, 'ada') == {0}
    assert human_answers.played(tmp_path, 'abd', False, 'ada') == set()


def test_a_half_line_is_dropped(tmp_path):
    human_answers.add(tmp_path, answer())
    with (tmp_path / human_answers.ANSWERS).open('a') as file:
        file.write('{"participant": "ad')
    assert human_answers.read(tmp_path) == [answer()]
    human_answers.add(tmp_path, answer(game=1))
    assert human_answers.read(tmp_path) == [answer(), answer(game=1)]


def test_many_people_answer_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        sent = [answer(f'p{n % 4}', n // 8) for n in range(32)]  # Each of them twice.
        added = list(pool.map(lambda each: human_answers.add(tmp_path, each), sent))
    assert sum(added) == 16 == len(human_answers.read(tmp_path))


def test_one_answer_is_added_at_a_time(tmp_path, monkeypatch):
    def read(run_dir):
        with (run_dir / human_answers.ANSWERS).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return []

    monkeypatch.setattr(human_answers, 'read', read)
    assert human_answers.add(tmp_path, answer())


@pytest.mark.parametrize('line', ['7', '{}', json.dumps(answer(game='0')), '{"a'])
def test_damaged_answers_are_named(tmp_path, line):
    (tmp_path / human_answers.ANSWERS).write_text(json.dumps(answer()) + f'\n{line}\n')
    with pytest.raises(ValueError, match=human_answers.ANSWERS):
        human_answers.read(tmp_path)


def test_rates_are_means_over_people(tmp_path):
    right = {'ada': [1, 1, 0, 1], 'bo': [0, 0, 1, 0], 'cy': [1, 0, 0, 1], 'di': [1]}
    agent = [1.0, 0.5, 1.0, None]
    lines = [
        answer(name, game, of=4, correct=bool(hit), same_class=game < 2, agent_class=None,
               agent=agent[game], seconds=float(game), picked=hit)
        for name, hits in right.items()
        for game, hit in enumerate(hits)
    ]  # fmt: skip
    lines += [answer(name, game, feedback=True) for name in ('ada', 'bo') for game in (0, 1)]
    plain, told = human_answers.analyse(lines)
    rates = [0.75, 0.25, 0.5]
    assert plain['participants'] == 3 and plain['unfinished'] == 1 and plain['num_games'] == 4
    found = plain['communication_rate']
    assert found['each'] == dict(zip(('ada', 'bo', 'cy'), rates, strict=True))
    assert found['mean'] == pytest.approx(0.5) and found['sd'] == statistics.stdev(rates) == 0.25
    assert plain['class_rate']['mean'] == 0.5 and plain['class_rate']['sd'] == 0
    assert plain['agent_communication_rate'] is None and plain['agent_class_rate'] is None
    assert plain['chance'] == 0.25 and plain['seconds'] == 1.5
    assert told['feedback'] and told['agent_communication_rate'] == 1
    text = human_answers.table([('drawn', [plain, told])]).splitlines()
    assert text[1].split() == 'drawn no 3 (+1 unfinished) 4 25.0 – 50.0 ± 25.0 – 50.0 ± 0.0'.split()
    assert text[2].split() == 'drawn yes 2 2 25.0 100.0 100.0 ± 0.0 100.0 100.0 ± 0.0'.split()


def test_nobody_who_finished_has_no_rate():
    (found,) = human_answers.analyse([answer()])
    assert found['participants'] == 0 and found['unfinished'] == 1
    assert found['communication_rate'] == {'mean': None, 'sd': None, 'each': {}}
    assert found['agent_communication_rate'] == 1
    (alone,) = human_answers.analyse([answer(of=1)])
    assert alone['communication_rate'] == {'mean': 1.0, 'sd': None, 'each': {'ada': 1.0}}


# --- the server ---


@contextmanager
def serving(runs, feedback=False, count=3):
    settings = [human_games.load(run, count=count) for run in runs]
    server = Server(Session(settings, feedback))
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server, method, path, sent=None, **headers):
    """Status and what was found there."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    body = sent if sent is None or isinstance(sent, bytes) else json.dumps(sent).encode()
    if method == 'POST':
        usual = {'Content-Type': 'application/json', 'Origin': f'http://127.0.0.1:{port}'}
        headers = usual | {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, body, {k: v for k, v in headers.items() if v is not None})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.getheader('Content-Type').startswith('application/json'):
        content = json.loads(content)
    return response.status, content, response


def pick(server, participant, picked):
    """Plays the next game; False when there is none."""
    _, game, _ = ask(server, 'GET', f'/game?participant={participant}')
    if game['done']:
        return None
    sent = {'participant': participant, **game['id'], 'picked': picked, 'seconds': 1.5}
    status, found, _ = ask(server, 'POST', '/answer', sent)
    assert status == 200, found
    return found


@pytest.fixture
def both(tmp_path, drawn):
    return drawn, write_run(tmp_path / 'said', symbols(), symbols('valid', seed=1))


def test_people_go_on_where_they_were(both):
    with serving(both) as server:
        for _ in range(4):
            assert pick(server, 'ada', 1) == {}
        pick(server, 'bo', 1)
    with serving(both) as server:  # The process was stopped; another one serves.
        _, game, _ = ask(server, 'GET', '/game?participant=ada')
        assert (game['played'], game['total'], game['part']) == (4, 6, 2)
        assert game['id']['setting'] == 1 and game['id']['game'] == 1
        assert ask(server, 'GET', '/game?participant=bo')[1]['played'] == 1
        assert ask(server, 'GET', '/game?participant=cy')[1]['played'] == 0
        while pick(server, 'ada', 2) is not None:
            pass
        done = ask(server, 'GET', '/game?participant=ada')[1]
        assert done == {'played': 6, 'total': 6, 'done': True}
    for run in both:
        own = [line for line in human_answers.read(run) if line['participant'] == 'ada']
        assert [line['game'] for line in own] == [0, 1, 2]
        games = human_games.load(run, count=3).games
        for line, game in zip(own, games, strict=True):
            assert line['row'] == game.row and line['target'] == game.target
            assert line['correct'] == (line['picked'] == game.target)
            assert line['same_class'] == game.same_class[line['picked']]
            assert line['agent'] == game.agent and line['agent_class'] == game.agent_class


def test_feedback_tells_what_was_right(drawn):
    game = human_games.load(drawn, count=3).games[0]
    with serving([drawn], feedback=True) as server:
        assert pick(server, 'ada', game.target) == {'target': game.target, 'correct': True}
        wrong = (game.target + 1) % CANDIDATES
        assert pick(server, 'bo', wrong) == {'target': game.target, 'correct': False}
        assert ask(server, 'GET', '/game?participant=ada')[1]['played'] == 1
    with serving([drawn]) as server:  # Without feedback it is another session.
        assert ask(server, 'GET', '/game?participant=ada')[1]['played'] == 0


def test_only_its_own_page_may_answer(drawn):
    with serving([drawn]) as server:
        _, game, _ = ask(server, 'GET', '/game?participant=ada')
        sent = {'participant': 'ada', **game['id'], 'picked': 1, 'seconds': 1}
        for origin in (None, 'null', 'http://evil.example', 'http://127.0.0.1:1'):
            assert ask(server, 'POST', '/answer', sent, Origin=origin)[0] == 403
        for kind in (None, 'text/plain', 'application/x-www-form-urlencoded'):
            assert ask(server, 'POST', '/answer', sent, Content_Type=kind)[0] == 415
        for host in ('evil.example', 'localhost.evil.example', '10.0.0.1', '[', ''):
            for method, path, origin in (
                ('GET', '/', None),
                ('GET', '/game?participant=ada', None),
                ('POST', '/answer', f'http://{host}'),
            ):
                body = sent if method == 'POST' else None
                extra = {'Origin': origin} if origin else {}
                status, found, _ = ask(server, method, path, body, Host=host, **extra)
                assert status == 403, (method, path, host)
                assert found['error'].endswith('.')
        assert human_answers.read(drawn) == []
        port = server.server_address[1]
        local = f'localhost:{port}'  # As through a tunnel.
        assert ask(server, 'POST', '/answer', sent, Host=local, Origin=f'http://{local}')[0] == 200


def test_a_server_that_is_told_so_is_reached_by_address(drawn):
    session = Session([human_games.load(drawn)], False)
    with Server(session, '0.0.0.0') as server:
        assert server.serves('192.168.0.7:8000') and not server.serves('evil.example:8000')
    with Server(session) as server:
        assert server.serves('127.0.0.1:8000') and server.serves('[::1]:8000')
        assert server.url == f'http://127.0.0.1:{server.server_address[1]}/'
        assert not server.serves('192.168.0.7:8000')


@pytest.mark.parametrize(
    ('change', 'status'),
    [
        ({'participant': ''}, 400),
        ({'participant': 'a b'}, 400),
        ({'participant': '<script>'}, 400),
        ({'participant': 'x' * 41}, 400),
        ({'participant': 7}, 400),
        ({'setting': 1}, 400),
        ({'setting': True}, 400),
        ({'game': -1}, 400),
        ({'game': 3}, 400),
        ({'picked': 5}, 400),
        ({'picked': 1.0}, 400),
        ({'picked': None}, 400),
        ({'seconds': -1}, 400),
        ({'seconds': 'soon'}, 400),
        ({'seconds': float('nan')}, 400),
        ({'seconds': 10**400}, 400),
        ({'games': 'others'}, 409),
    ],
)
def test_what_is_no_answer_is_refused(drawn, change, status):
    with serving([drawn]) as server:
        _, game, _ = ask(server, 'GET', '/game?participant=ada')
        sent = {'participant': 'ada', **game['id'], 'picked': 1, 'seconds': 1}
        found = ask(server, 'POST', '/answer', sent | change)
        assert found[0] == status and found[1]['error'].endswith('.')
        assert human_answers.read(drawn) == []
        assert ask(server, 'POST', '/answer', sent)[0] == 200
        again = ask(server, 'POST', '/answer', sent | {'picked': 2})
        assert again[0] == 409 and len(human_answers.read(drawn)) == 1


@pytest.mark.parametrize('sent', [b'', b'{', b'[]', b'"a"', b'\xff', b'[' * 3000])
def test_what_is_no_object_is_refused(drawn, sent):
    with serving([drawn]) as server:
        assert ask(server, 'POST', '/answer', sent)[0] == 400
        assert ask(server, 'POST', '/answer', b' ' * 5000)[0] == 413
        assert ask(server, 'POST', '/answer', sent, Content_Length='x')[0] == 411
        for path in ('/config.json', '//[', '/../human_games.jsonl'):
            assert ask(server, 'GET', path)[0] == 404
            assert ask(server, 'POST', path, sent)[0] == 404
        assert ask(server, 'GET', '/game')[0] == 400


def test_a_damaged_file_is_told_to_who_serves(drawn, capsys):
    with serving([drawn]) as server:
        (drawn / human_answers.ANSWERS).write_text('nonsense\n')
        status, found, _ = ask(server, 'GET', '/game?participant=ada')
        assert status == 500 and 'tell who runs this' in found['error']
    assert human_answers.ANSWERS in capsys.readouterr().err


class Scripts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.handlers, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.handlers += [name for name, _ in attrs if name.startswith('on')]
        self.sources += [value for name, value in attrs if name in ('src', 'href', 'action')]


def test_the_page_needs_nothing_but_itself(drawn):
    with serving([drawn]) as server:
        status, page, response = ask(server, 'GET', '/')
    assert status == 200
    found = Scripts()
    found.feed(page.decode())
    assert not found.handlers and found.sources == ['data:,']
    assert b'innerHTML' not in page and b'insertAdjacentHTML' not in page
    policy = response.getheader('Content-Security-Policy')
    assert "default-src 'none'" in policy and 'unsafe' not in policy
    assert "script-src 'sha256-" in policy and "style-src 'sha256-" in policy


# --- the command ---


def test_help_needs_no_jax():
    script = (
        'import sys; from emcom_jax.report import play\n'
        'try: play.main(["--help"])\n'
        'finally: assert not {"jax", "numpy"} & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert '--analyse' in done.stdout


def test_the_analysis_is_printed_and_kept(both, capsys):
    with serving(both, count=2) as server:
        for number, name in enumerate(PEOPLE):
            while pick(server, name, number) is not None:
                pass
    assert play.main(['--analyse', *map(str, both)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ['setting', 'drawn', 'said']
    for run in both:
        (found,) = json.loads((run / human_answers.ANALYSIS).read_text())
        targets = [game.target for game in human_games.load(run, count=2).games]
        rates = [sum(target == n for target in targets) / 2 for n in range(3)]
        assert found['communication_rate']['mean'] == pytest.approx(statistics.mean(rates))
        assert found['communication_rate']['sd'] == pytest.approx(statistics.stdev(rates))


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--analyse'], 'nobody has played'),
        (['--split=ood'], 'no evaluation record'),
        (['--host=no.such.host.invalid'], 'choose another --host or --port'),
    ],
)
def test_mistakes_are_told_in_a_sentence(drawn, capsys, arguments, said):
    assert play.main([str(drawn), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and said in error and error.count('\n') == 1


def test_a_port_in_use_is_told(drawn, capsys):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        assert play.main([str(drawn), f'--port={port}']) == 2
    assert f'port {port}' in capsys.readouterr().err


@pytest.mark.parametrize('flags', [['--games=0'], ['--seed=-1'], ['--port=70000']])
def test_impossible_flags_are_refused(drawn, capsys, flags):
    with pytest.raises(SystemExit, match='2'):
        play.main([str(drawn), *flags])
    assert flags[0].partition('=')[0] in capsys.readouterr().err


def test_a_run_is_named_once(drawn, capsys):
    with pytest.raises(SystemExit, match='2'):
        play.main([str(drawn), f'{drawn}/../{drawn.name}'])
    assert 'twice' in capsys.readouterr().err


# --- the page, in a real browser ---


@pytest.mark.browser
def test_a_person_plays_in_a_browser(tmp_path, both):
    talk = write_run(tmp_path / 'talk', dialogues(), dialogues('valid', seed=1))
    runs = [*both, talk]
    games = [human_games.load(run, count=2).games for run in runs]
    shown = "!document.getElementById('play').hidden && document.querySelector('[name=picked]')"
    with serving(runs, feedback=True, count=2) as server, chromium(tmp_path / 'profile') as browser:
        number = "document.getElementById('count').textContent"
        browser.open(server.url)
        browser.type(f'a b{ENTER}')
        browser.wait("document.getElementById('error').textContent.startsWith('A participant id')")
        browser.run("document.getElementById('participant').value = ''")
        browser.click('#participant')
        browser.type(f'ada{ENTER}')
        browser.wait(shown)
        assert browser.run(f'return {number}') == 'part 1 of 3, game 1 of 6'
        browser.wait("document.querySelector('.sketch').naturalWidth === 256")
        browser.wait("[...document.querySelectorAll('.tile img')].every(i => i.naturalWidth)")
        browser.picture(tmp_path / 'drawn.png')

        # By keys: the third candidate by its digit.
        browser.type('3')
        browser.type(ENTER)
        verdict = "document.getElementById('verdict').textContent"
        browser.wait(verdict)
        right = games[0][0].target == 2
        assert browser.run(f'return {verdict}').startswith('Right' if right else 'No')
        framed = "[...document.querySelectorAll('.tile')].findIndex(t => t.matches('.right'))"
        assert browser.run(f'return {framed}') == games[0][0].target
        (kept,) = human_answers.read(both[0])
        assert kept['picked'] == 2 and kept['correct'] == right and kept['seconds'] > 0

        # The focus is on the button that goes on; then arrows choose.
        browser.type(ENTER)
        browser.wait(f"{number}.includes('game 2')")
        browser.type(RIGHT)
        browser.type(RIGHT)
        checked = "Number(document.querySelector('[name=picked]:checked').value)"
        before = browser.run(f'return {checked}')
        columns = browser.run(
            "return getComputedStyle(document.getElementById('candidates'))"
            ".gridTemplateColumns.split(' ').length"
        )
        browser.type(DOWN)
        after = browser.run(f'return {checked}')
        assert after == (before + columns if before + columns < CANDIDATES else before)

        # The tab is closed without an answer; a new one goes on with the same game.
        browser.another_tab()
        browser.open(server.url)
        browser.click('#participant')
        browser.type(f'ada{ENTER}')
        browser.wait(shown)
        assert browser.run(f'return {number}') == 'part 1 of 3, game 2 of 6'
        click(browser, 1)

        # Symbols, with what else they were said of.
        browser.wait(f"{number}.includes('game 3')")
        chips = "[...document.querySelectorAll('#message .symbol')].map(c => Number(c.textContent))"
        assert browser.run(f'return {chips}') == games[1][0].message['symbols']
        examples = browser.run("return document.querySelectorAll('#examples img').length")
        assert examples == len(games[1][0].examples)
        browser.wait("[...document.querySelectorAll('img')].every(i => i.naturalWidth)")
        browser.picture(tmp_path / 'said.png')
        click(browser, 0)
        browser.wait(f"{number}.includes('game 4')")
        click(browser, 0)

        # A dialogue, and names that must not become elements.
        browser.wait(f"{number}.includes('game 5')")
        rows = browser.run("return document.querySelectorAll('#message .turn').length")
        assert rows == len(games[2][0].message['turns'])
        texts = "[...document.querySelectorAll('.tile .text')].map(t => t.textContent)"
        assert browser.run(f'return {texts}') == ['cat', 'a<b>', 'dog', 'emu']
        browser.picture(tmp_path / 'talk.png')
        click(browser, 0)
        browser.wait(f"{number}.includes('game 6')")
        click(browser, 3)
        browser.wait("!document.getElementById('end').hidden")
    for run, own in zip(runs, games, strict=True):
        assert len(human_answers.read(run)) == len(own)
    for name in ('drawn', 'said', 'talk'):
        with Image.open(tmp_path / f'{name}.png') as picture:
            assert picture.width >= 1000 and len(set(picture.convert('L').tobytes())) > 10


def click(browser, candidate):
    """Chooses, and goes on."""
    browser.click(f'.tile:nth-child({candidate + 1})')
    browser.click('#send')
    browser.wait("document.getElementById('send').textContent === 'Next'")
    browser.click('#send')
