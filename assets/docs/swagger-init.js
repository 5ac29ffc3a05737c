// How long the page follows a log, and how much of a log it shows: Swagger UI draws an answer when it is whole, and a
// followed log never is.
const FOLLOW_SECONDS = 10;
const MOST_CHARACTERS = 256 * 1024;
const REDRAW_MILLISECONDS = 500;

const LOG = /^(?:\/v1)?\/sandboxes\/[^/]+\/logs$/;

// The description lists every route twice, at the root and under /v1. The page shows the second, which clients use.
function once(spec) {
  for (const path of Object.keys(spec.paths)) {
    if (`/v1${path}` in spec.paths) delete spec.paths[path];
  }
  return spec;
}

// Reads a log as far as a page can show it, and draws what has come meanwhile.
async function readLog(url, options) {
  const stop = new AbortController();
  const response = await fetch(url, { ...options, signal: stop.signal });
  if (!response.ok || !response.body) return response;
  const head = { status: response.status, statusText: response.statusText, headers: response.headers };
  const isFollowed = new URL(url, document.baseURI).searchParams.get("follow") === "true";
  const headers = Object.fromEntries(response.headers);
  const draw = (soFar) => {
    const text = `${soFar}\n[Following, for ${FOLLOW_SECONDS} s …]\n`;
    const shown = { url, method: "GET", ok: true, status: head.status, headers, text, data: text };
    window.ui.specActions.setResponse("/v1/sandboxes/{sandboxId}/logs", "get", shown);
  };

  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let note = "";
  const finish = (why) => {
    note = why;
    stop.abort();
  };
  const timer = setTimeout(finish, FOLLOW_SECONDS * 1000, `This page follows a log for ${FOLLOW_SECONDS} s.`);
  let drawn = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      if (text.length > MOST_CHARACTERS) {
        text = text.slice(0, MOST_CHARACTERS);
        finish("The log goes on; this page shows its beginning.");
      } else if (isFollowed && Date.now() - drawn > REDRAW_MILLISECONDS) {
        drawn = Date.now();
        draw(text);
      }
    }
  } catch (error) {
    // Aborted above, or the stream broke off.
    note ||= `The stream broke off: ${error}`;
  } finally {
    clearTimeout(timer);
  }
  if (note) text += `\n[${note} The command under "Curl", with -N, reads it whole.]\n`;
  return new Response(text, head);
}

function intercept(request) {
  const { pathname } = new URL(request.url, document.baseURI);
  if (request.method === "GET" && LOG.test(pathname)) request.userFetch = readLog;
  return request;
}

async function start() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  window.ui = SwaggerUIBundle({
    spec: once(await answer.json()),
    dom_id: "#swagger-ui",
    deepLinking: true,
    layout: "BaseLayout",
    displayRequestDuration: true,
    requestInterceptor: intercept,
    oauth2RedirectUrl: new URL("docs/oauth2-redirect", document.baseURI).href,
  });
}

start().catch((error) => {
  document.getElementById("swagger-ui").textContent = `The description of the API cannot be loaded: ${error.message}`;
});
