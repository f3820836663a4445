// The answer follows the form: it is sent as the button would send it, and the page that comes back gives its answer.
const form = document.getElementById("what-if"), parts = ["answer", "now"];
let waiting, running;

async function follow() {
  running?.abort();
  running = new AbortController();
  const sent = { method: "POST", body: new URLSearchParams(new FormData(form)), signal: running.signal };
  try {
    const page = new DOMParser().parseFromString(await (await fetch(form.action, sent)).text(), "text/html");
    if (!page.getElementById("answer")) return form.submit(); // the session ended, or the service says why it can't answer
    for (const id of parts) document.getElementById(id).replaceChildren(...page.getElementById(id).childNodes);
    for (const mistake of form.querySelectorAll(".mistake")) {
      mistake.textContent = page.getElementById(mistake.id)?.textContent ?? "";
      mistake.parentElement.querySelector("input, select").ariaInvalid = String(mistake.textContent !== "");
    }
  } catch (error) {
    if (error.name !== "AbortError") form.submit();
  }
}

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(follow, 200);
});
