// Loads the page's wasm. A file of its own, so that no inline script has to be allowed.
import init from "/assets/{{app.js}}";

init({ module_or_path: "/assets/{{app.wasm}}" });
