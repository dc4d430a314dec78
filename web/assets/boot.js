// Loads the page's wasm. A separate file, so that the content security policy need not allow inline scripts.
import init from "/assets/{{app.js}}";

// Not while the page itself is being loaded.
setTimeout(() => navigator.serviceWorker?.register("/worker.js").catch(() => {}), 5_000);

init({ module_or_path: "/assets/{{app_bg.wasm}}" });
