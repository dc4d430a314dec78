// Keeps the page's files, so that the page opens without a network: no odds, and nothing of the account. Shows the
// notifications of a page that may not show them itself.
const NAME = "{{shell.name}}";
const FILES = {{shell.files}};

addEventListener("install", (event) => event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES))));

addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("page-") && name !== NAME);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
  // The page that registered it may have something to show at once.
  event.waitUntil(clients.claim());
});

addEventListener("message", ({ data: [title, options] }) => registration.showNotification(title, options));

addEventListener("notificationclick", (event) => {
  const { notification } = event;
  notification.close();
  const show = async () => {
    const [page] = await clients.matchAll({ type: "window" });
    if (!page) return clients.openWindow(notification.data);
    await page.focus();
    return page.navigate(notification.data);
  };
  event.waitUntil(show());
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (pathname.startsWith("/assets/")) {
    event.respondWith(caches.match(request).then((kept) => kept ?? fetch(request)));
  } else if (request.mode === "navigate" && !pathname.startsWith("/api/")) {
    // The page is always asked for, so that a new version is seen at once.
    event.respondWith(fetch(request).catch(() => caches.match("/")));
  }
});
