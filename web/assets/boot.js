// Loads the page's wasm. A separate file, so that the content security policy need not allow inline scripts.
import init from "/assets/{{app.js}}";

init({ module_or_path: "/assets/{{app.wasm}}" });
