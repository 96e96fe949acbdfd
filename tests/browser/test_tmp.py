from tests.browser.conftest import Server, settle
def test_x(server: Server, page, trained_run):
    server.open(page, "attention", run=trained_run.id)
    print(page.url)
