// The description lists every route twice, at the root and under /v1. The page shows the second, which clients use.
async function start() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const spec = await answer.json();
  for (const path of Object.keys(spec.paths)) {
    if (`/v1${path}` in spec.paths) delete spec.paths[path];
  }
  Redoc.init(spec, {}, document.getElementById("redoc"));
}

start().catch((error) => {
  document.getElementById("redoc").textContent = `The description of the API cannot be loaded: ${error.message}`;
});
