// The calls to the gateway. Same origin, GET only; the key goes in a header and never in a URL.

const HEADER = "OPEN-SANDBOX-API-KEY";
// 200 is the API's largest page; 50 pages are 10,000 sandboxes.
const PAGE_SIZE = 200;
const MAX_PAGES = 50;

export class ApiError extends Error {
  constructor(status, code, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  get isUnauthorized() {
    return this.status === 401 && this.code !== "LOGS::EXECD_UNAUTHORIZED";
  }
}

async function errorOf(response) {
  let body = {};
  try {
    body = JSON.parse((await response.text()).slice(0, 65536));
  } catch {
    // Not the gateway's own answer, such as a proxy's page: the status is all there is.
  }
  const detail = Array.isArray(body.detail) ? body.detail.map((it) => it.msg).join("; ") : "";
  const message = detail || body.message || `The server answered with status ${response.status}.`;
  return new ApiError(response.status, String(body.code ?? ""), String(message), Number(response.headers.get("Retry-After")) || 0);
}

export class Api {
  #key = "";

  set key(key) {
    this.#key = key;
  }

  // The response, whose status is 2xx. Everything else is an ApiError; a connection that fails is fetch's TypeError.
  async get(path, params = {}, signal = undefined) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) {
      if (value !== undefined && value !== null && value !== "") query.set(name, value);
    }
    const headers = this.#key === "" ? {} : { [HEADER]: this.#key };
    const text = query.toString();
    const response = await fetch(text === "" ? path : `${path}?${text}`, { headers, signal, mode: "same-origin", cache: "no-store", redirect: "error" });
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  // All sandboxes. `isCut` tells that there are more than the bound.
  async sandboxes(signal) {
    const items = [];
    for (let page = 1; page <= MAX_PAGES; page += 1) {
      const answer = await (await this.get("/v1/sandboxes", { page, pageSize: PAGE_SIZE }, signal)).json();
      items.push(...answer.items);
      if (!answer.pagination?.hasNextPage) return { items, isCut: false };
    }
    return { items, isCut: true };
  }

  async sandbox(id, signal) {
    return (await this.get(`/v1/sandboxes/${encodeURIComponent(id)}`, {}, signal)).json();
  }

  logs(id, params, signal) {
    return this.get(`/v1/sandboxes/${encodeURIComponent(id)}/logs`, params, signal);
  }

  // The names of the pod's containers; none where the runtime has no choice.
  async containers(id, signal) {
    try {
      // Nobody names a container "0": the answer is an error, and on Kubernetes it has the names.
      await this.logs(id, { container: "0", tail: 1 }, signal);
      return [];
    } catch (error) {
      if (!(error instanceof ApiError) || error.isUnauthorized) throw error;
      return containerNames(error.message);
    }
  }
}

// The names in the message of a LOGS::CONTAINER_NOT_FOUND.
export function containerNames(message) {
  const found = /It has: ([a-z0-9-]+(?:, [a-z0-9-]+)*)\.$/.exec(message);
  return found === null ? [] : found[1].split(", ");
}
