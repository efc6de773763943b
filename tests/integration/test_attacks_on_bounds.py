"""Memory, time and places are bounded, whatever a client sends, and whatever it does not read."""

from __future__ import annotations

import pytest

from tests.integration import attacks_in_msgpack as packed
from tests.integration import attacks_on_bounds as attacks
from tests.integration import attacks_over_redis as channel
from tests.integration.hostile import STAYS, Fate
from tests.integration.redis_server import redis_server
from tests.integration.scene import MB
from tests.integration.target import BOUND, WAYS, Target, target_of
from tests.timing import DEADLINE

CLOSED = (Fate("closed", 1002), Fate("closed"))

# -- on the way in --------------------------------------------------------------------------------


def test_an_attachment_that_2000_placeholders_name_is_not_multiplied(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.one_attachment_many_times(scene) in CLOSED


def test_what_a_connect_may_have_kept_is_bounded_as_memory(target: Target) -> None:
    # Each of 20 frames of 950 kB may be half read at the same time.
    with target.unharmed(bound=2 * BOUND), target.forgotten(), target.scene() as scene:
        assert attacks.auth_of_many_lists(scene) == Fate("refused")


def test_an_event_of_very_many_values_is_dropped(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.event_of_many_lists(scene) is STAYS


def test_json_of_500_levels_is_not_taken_and_then_not_sent_on(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.deep_json_forwarded(scene) is STAYS


def test_a_relay_of_very_many_values_is_dropped(target: Target) -> None:
    dropped = target.counts("dropped")
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.relay_of_many_lists(scene, 20) is STAYS
        assert dropped("too-many-values") == 20


def dropped_in_msgpack(target: Target) -> int:
    return int(target.server.get_json("/census")["packed_dropped"])


def test_what_a_connect_in_msgpack_may_have_kept_is_bounded_as_memory(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert packed.connects_of_lists_in_msgpack(scene) == Fate("refused")


def test_an_event_of_very_many_values_in_msgpack_is_dropped(target: Target) -> None:
    before = dropped_in_msgpack(target)
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert packed.events_of_lists_in_msgpack(scene, 20) is STAYS
        assert dropped_in_msgpack(target) == before + 20


def test_msgpack_of_600_levels_is_not_taken_and_then_not_sent_on(target: Target) -> None:
    before = dropped_in_msgpack(target)
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert packed.deep_msgpack_forwarded(scene, number=100) is STAYS
        assert dropped_in_msgpack(target) == before + 100


def test_a_form_of_very_many_fields_costs_no_more_than_its_bytes(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.jsonp_of_many_fields(scene) in (STAYS, Fate("refused", 400))


@pytest.mark.parametrize("way", WAYS)
def test_an_index_of_jsonp_that_is_no_number_of_pythons_is_a_bad_request(way: str) -> None:
    # gunicorn takes no line of more than 4,094 bytes, and says so.
    with (
        target_of(way, clean_log=False) as target,
        target.forgotten(),
        target.unharmed(allowed="Invalid request"),
        target.scene() as scene,
    ):
        assert attacks.jsonp_of_many_digits(scene) in (Fate("refused", 400), Fate("refused", 414))


@pytest.mark.parametrize("way", WAYS)
def test_handshakes_on_polling_take_no_websockets_place(way: str) -> None:
    with target_of(way, max_connections=50) as target, target.unharmed(), target.scene() as scene:
        assert attacks.pipelined_handshakes(scene, 200) is STAYS


def test_a_refused_request_is_not_held_open_for_a_body_that_never_comes() -> None:
    bounds = {"handshake_timeout": 1}
    with target_of("listen", limits=bounds) as target, target.unharmed(), target.scene() as scene:
        assert attacks.bodies_that_never_come(scene) == Fate("closed")


# -- from elsewhere --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_junk_on_the_redis_channel_keeps_nothing_of_others_back(way: str) -> None:
    with (
        redis_server() as url,
        # One warning: that somebody publishes what cannot be read.
        target_of(way, clean_log=False, environ={"RTCIO_TEST_REDIS": url}) as target,
    ):
        # It connects to Redis when it first publishes: when the first witness leaves its room.
        with channel.until_published(url, "#rtcio:peer-left"), target.scene(redis=url) as scene:
            assert channel.junk_on_the_channel(scene, 1) is STAYS
        dropped = target.counts("dropped")
        with target.forgotten(), target.unharmed(), target.scene(redis=url) as scene:
            assert channel.junk_on_the_channel(scene) is STAYS
        assert dropped("channel") == 20 * len(channel.JUNK)


# -- on the way out -------------------------------------------------------------------------------


def test_an_answer_that_is_not_read_is_not_kept(target: Target) -> None:
    closed = target.counts("closed")
    with target.unharmed(bound=2 * BOUND), target.forgotten(), target.scene() as scene:
        assert attacks.large_answer_nobody_reads(scene, 8 * MB).end == "closed"
        assert closed("slow-reader") == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_waits_for_all_clients_together_is_bounded(way: str) -> None:
    with (
        target_of(way, clean_log=False, max_buffered_total=32 * MB) as target,
        target.unharmed(bound=32 * MB + 3 * BOUND, allowed="max_buffered_total"),
        target.forgotten(),
        target.scene() as scene,
    ):
        assert attacks.many_who_read_nothing(scene, 12).end == "closed"


def test_who_makes_no_progress_is_closed(target: Target) -> None:
    closed = target.counts("closed")
    with target.unharmed(bound=3 * BOUND), target.forgotten(), target.scene() as scene:
        assert attacks.slow_readers(scene, 3).end == "closed"
        assert closed("slow-reader") == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_polling_answer_that_is_not_read_ends_with_its_session(way: str) -> None:
    with (
        target_of(way, ping_interval=1, ping_timeout=9) as target,
        target.unharmed(bound=2 * BOUND),
        target.forgotten(),
        target.scene(silence=14) as scene,
    ):
        assert attacks.polling_answers_nobody_reads(scene) == Fate("closed")


def test_a_tab_on_polling_that_is_closed_is_gone_at_once(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.polling_tab_closed(scene) == Fate("gone at once")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_for_all_who_are_away_is_bounded(way: str) -> None:
    # 64 MB by default, what the attacker's own messages take meanwhile, and the holes between kept
    # blocks of 900 kB. glibc takes blocks of a size from its heap once one of them was freed: then
    # 85 to 101 MB were measured, and 75 to 83 with MALLOC_TOP_PAD_=0, which turns that off. Without
    # a bound it would be 180 MB.
    with (
        # The attacker answers no ping, and on a busy machine it sends its 180 MB for a while.
        target_of(way, connection_state_recovery=True, ping_timeout=3 * DEADLINE) as target,
        target.unharmed(bound=64 * MB + 3 * BOUND),
        target.scene(patience=DEADLINE) as scene,
    ):
        assert attacks.away_sessions(scene, 200) is STAYS
