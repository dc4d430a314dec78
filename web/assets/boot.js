// Loads the page's wasm, and has the browser ask for the first boards meanwhile. A separate file, so that the content
// security policy need not allow inline scripts. The document names the wasm before anything else: it is by far the
// largest file, and the first request needs no new connection.

let codeRuns = false;
import("/assets/{{app.js}}")
  .then((app) => app.default({ module_or_path: "/assets/{{app_bg.wasm}}" }))
  .then(() => {
    codeRuns = true;
    // Later, because a worker that comes in the middle makes the browser ask for the boards again.
    setTimeout(() => navigator.serviceWorker?.register("/worker.js").catch(() => {}), 5_000);
  });

/** The code's own request takes the response. */
const preload = (href) => document.head.append(Object.assign(document.createElement("link"), { rel: "preload", as: "fetch", crossOrigin: "", href }));

// With the worker, the code is there at once. Whoever has chosen something may see other boards first.
if (!navigator.serviceWorker?.controller && !location.search && !localStorage.getItem("toteboard")) {
  // The document has asked for this already, so the code needs another response.
  const site = fetch("/api/site");
  preload("/api/site");
  site
    .then((response) => response.json())
    // Once the code runs, it asks by itself.
    .then(({ me }) => !codeRuns && me?.regions.forEach((region) => preload(`/api/odds/${region}?market=h2h`)))
    .catch(() => {})
    .then(() => {
      // A browser's first numbers and times are slow: better now, while it waits for the network.
      (1.5).toLocaleString("default");
      new Intl.DateTimeFormat([], { timeZoneName: "short" }).format();
    });
}
