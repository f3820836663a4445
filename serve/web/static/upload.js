// A file is sent as it is, however large, with its progress; its page takes over when it has arrived.
const form = document.getElementById("upload"), bar = document.getElementById("sent"), said = document.getElementById("said");
const button = form.querySelector("button"), input = form.elements.file, drop = form.querySelector(".drop");

function say(text) {
  said.textContent = text;
  bar.hidden = true;
  button.disabled = false;
}

function send(file) {
  const query = new URLSearchParams(["separator", "encoding", "reasons"].map((name) => [name, form.elements[name].value]));
  const request = new XMLHttpRequest(); // fetch does not tell how much is sent
  request.open("POST", `${form.action}?${query}`);
  request.setRequestHeader("X-Form", form.elements.form.value);
  request.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
  request.upload.onprogress = (event) => (bar.value = event.loaded / event.total);
  request.onerror = () => say("The file did not arrive: the connection ended, or the service refused it. Load the page again.");
  request.onload = () => {
    const answer = JSON.parse(request.responseText || "{}");
    if (request.status === 201) location.href = form.dataset.pages + answer.id;
    else say(`The file was refused: ${typeof answer.detail === "string" ? answer.detail : "the options are not understood"}.`);
  };
  button.disabled = true;
  bar.hidden = false;
  said.textContent = `${file.name} is being sent.`;
  request.send(file);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const file = input.files[0];
  if (!file.size) say("The file is empty.");
  else if (file.size > Number(form.dataset.limit)) say("The file is larger than the service takes.");
  else send(file);
});
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
});
form.hidden = false;
