// Looks again at what is under way, until it has ended; then the whole page is new.
const place = document.getElementById("following");

async function look() {
  try {
    const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
    const newer = page.getElementById("following");
    if (!newer) return location.reload();
    if (newer.innerHTML !== place.innerHTML) place.replaceChildren(...newer.childNodes);
  } catch {
    // the service restarts; it will be there again
  }
  setTimeout(look, 1000);
}
setTimeout(look, 1000);
