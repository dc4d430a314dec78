// Loads the page's wasm, and has the browser ask for the first boards meanwhile. A separate file, so that the content
// security policy need not allow inline scripts.

/** The code's own request takes the response. */
const preload = (href) => document.head.append(Object.assign(document.createElement("link"), { rel: "preload", as: "fetch", crossOrigin: "", href }));

import("/assets/{{app.js}}").then((app) => app.default({ module_or_path: "/assets/{{app_bg.wasm}}" }));

// With the worker, the code is there at once. Whoever has chosen something may see other boards first.
if (!navigator.serviceWorker?.controller && !location.search && !localStorage.getItem("toteboard")) {
  // With another address, because the code takes the response for the first one.
  fetch("/api/site?")
    .then((response) => response.json())
    .then(({ me }) => me?.regions.forEach((region) => preload(`/api/odds/${region}?market=h2h`)))
    .catch(() => {});
}

// Not while the page itself is being loaded.
setTimeout(() => navigator.serviceWorker?.register("/worker.js").catch(() => {}), 5_000);
