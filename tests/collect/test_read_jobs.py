from privllm.collect.read_jobs import GROUP_BYTES, GROUP_FILES, groups


def test_groups_keep_order_and_lose_nothing() -> None:
    made = groups([index * 10_000 for index in range(300)], GROUP_BYTES)
    assert [place for first, last in made for place in range(first, last)] == list(range(300))
    assert len(made) > 10
    assert groups([], 1) == []


def test_groups_have_a_limit_of_bytes_and_of_files() -> None:
    assert groups([1, 9 << 20, 1, 1], 8 << 20) == [(0, 1), (1, 2), (2, 4)]
    assert groups([1] * (GROUP_FILES + 1), 8 << 20) == [(0, GROUP_FILES), (GROUP_FILES, GROUP_FILES + 1)]
