// The wheel scrolls the page; a number that has the focus stays as it was typed.
addEventListener("wheel", ({ target }) => target.type === "number" && target.blur(), { passive: true });
