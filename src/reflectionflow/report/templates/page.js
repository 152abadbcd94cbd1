document.documentElement.classList.add("live");
addEventListener("input", ({ target }) => target.closest(".compare")?.style.setProperty("--cut", target.value + "%"));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
