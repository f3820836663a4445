"""The console: pages below /console and at /, their twins for programs, and the files that pages load."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from churn.page import TEMPLATES
from serve.http.application import Application
from serve.http.middleware import Rules
from serve.predict.service import Service
from serve.settings import Settings
from serve.web import runbook, sign_in
from serve.web.campaigns import plans
from serve.web.campaigns.view import list_campaigns, one_campaign
from serve.web.console import Console, reading_engine
from serve.web.customers import view as customers
from serve.web.files import view as files
from serve.web.files.kept import KeptFiles
from serve.web.overview import overview
from serve.web.pages import add_page
from serve.web.processes import Processes
from serve.web.production.inputs import input_page
from serve.web.production.view import production
from serve.web.releases import acts, compare
from serve.web.releases import view as releases
from serve.web.sessions import Sessions
from serve.web.streams import add_waiting_page

STATIC = Path(__file__).parent / "static"


def add_console(app: Application, service: Service, settings: Settings, rules: Rules) -> Console:
    """Add the pages; the caller closes what is returned."""
    keys = [*settings.api_keys, settings.admin_key, *settings.admin_keys.values()]
    places = {"CHURN_RELEASES": settings.releases, "CHURN_LOG_URL": settings.log}
    console = Console(
        service,
        Sessions(rules.keys, rules.admin, keys),
        reading_engine(settings.log),
        Processes(places),
        settings.scores,
        KeptFiles(settings.files_path, settings.max_upload, settings.files_hours, places),
    )
    app.state.console = console
    router = APIRouter()
    add_page(router, "/", "overview.html", overview, "How it goes", twin="/console/overview.json")
    add_page(router, "/console/production", "production.html", production, "How production goes")
    add_page(router, "/console/production/input", "input.html", input_page, "How one input goes")
    add_page(router, "/console/campaigns", "campaigns.html", list_campaigns, "The campaigns")
    result = "/console/campaigns/{name}/result.json"
    pages = ("/console/campaigns/{name}", "campaign.html", "campaign_result.html")
    add_waiting_page(router, *pages, one_campaign, "What a campaign brought", twin=result)
    pages = ("/console/plans", "plans.html", "plans_curve.html")
    add_waiting_page(router, *pages, plans.plans, "What budgets would bring")
    pages, plan = ("/console/plans/{name}", "plan.html", "plan_content.html"), "/console/plans/{name}/plan.json"
    add_waiting_page(router, *pages, plans.one_plan, "A plan", twin=plan)
    add_page(router, "/console/releases", "releases.html", releases.list_releases, "The store and its history")
    add_page(router, "/console/releases/{version}", "release.html", releases.one_release, "A release, and acts on it")
    add_page(router, "/console/compare", "compare.html", compare.compare, "Two releases side by side")
    add_page(router, "/console/acts/{act}", "look.html", acts.look, "What an act on releases would change")
    add_page(router, "/console/files", "files.html", files.list_files, "Files that are scored")
    file = "/console/files/{id}/file.json"
    add_page(router, "/console/files/{id}", "file.html", files.one_file, "How it goes with a file", twin=file)
    others = (
        customers.pages,
        files.pages,
        files.twins,
        plans.pages,
        releases.pages,
        compare.pages,
        acts.pages,
        sign_in.pages,
        runbook.pages,
    )
    for part in (router, *others):
        app.router.routes += part.routes
    style = (TEMPLATES / "style.css").read_text() + (STATIC / "console.css").read_text()

    @app.get("/console/static/style.css", include_in_schema=False)
    async def look() -> Response:
        return Response(style, media_type="text/css")

    app.mount("/console/static", StaticFiles(directory=STATIC), name="console")
    return console
