"""The glossary: one explanation of each term, in tooltips and in the list."""

from pages.parts.shell.glossary import explain, terms
from tests.app.conftest import Open, errors, widget


def listed(page) -> str:
    """The markdown of the open list."""
    return "\n".join(text.value for text in page.markdown if " · " in text.value and text.value.startswith("**"))


def test_a_link_opens_all_explanations_and_a_word_finds_some(open_page: Open) -> None:
    page = open_page("anatomy", run="example", glossary="true")
    assert not errors(page)
    every = [f"**{term}** · {text}" for group in terms().values() for term, text in group.items()]
    assert all(line in listed(page) for line in every)
    widget(page, "text_input", "Find a term").set_value("MUON").run()
    assert "**Muon** · " in listed(page) and "**Patch** · " not in listed(page)
    widget(page, "text_input", "Find a term").set_value("zzz").run()
    assert [info.value for info in page.info] == ["No term matches. Try a shorter word."]


def test_a_link_may_name_a_term_and_the_sidebar_opens_the_list(open_page: Open) -> None:
    assert "**Attention sink** · " in listed(open_page(glossary="sink"))
    page = open_page("runs")
    assert not listed(page)
    next(button for button in page.sidebar.button if button.label == "Glossary").click().run()
    assert page.query_params["glossary"] == "true" and "**CLS** · " in listed(page)


def test_tooltips_are_the_explanations_of_the_glossary(open_page: Open) -> None:
    page = open_page("compare", run="example")
    for label, term in (("Layer", "Layer"), ("Head", "Head")):
        assert widget(page, "selectbox", label).help == explain(term)
    help = {header.value: header.help for header in open_page("anatomy", run="example", anatomy_tab="Maps").header}
    assert help["Attention rollout"] == explain("Attention rollout")


def test_a_term_has_one_explanation_of_at_most_50_words() -> None:
    names = [term for group in terms().values() for term in group]
    assert len(set(names)) == len(names)
    for term in names:
        assert len(explain(term).split()) <= 50 and explain(term).endswith(".")
