// What a person does on /docs.

// How long an answer may take.
const ANSWER = 15_000;

// An operation's block on the page.
export function operation(page, method, path) {
  return page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="${path}"]`) });
}

export async function open(page, method, path) {
  const block = operation(page, method, path);
  await block.locator(".opblock-summary-control").click();
  await block.locator(".try-out__btn").click();
  return block;
}

export async function fill(block, name, value) {
  await block.locator(`tr[data-param-name="${name}"] input`).first().fill(value);
}

export async function execute(block) {
  await block.locator(".btn.execute").click();
  const response = block.locator(".live-responses-table .response");
  await response.locator(".response-col_status").first().waitFor({ timeout: ANSWER });
  // The spinner is there until the answer is whole.
  await block.locator(".loading-container").waitFor({ state: "detached", timeout: ANSWER });
  const status = (await response.locator(".response-col_status").first().innerText()).trim();
  const body = response.locator(".response-col_description .highlight-code").first();
  const text = (await body.count()) > 0 ? await body.innerText() : "";
  return { status, text };
}

export async function authorize(page, key) {
  await page.locator(".btn.authorize").first().click();
  await page.locator(".auth-container input").first().fill(key);
  await page.locator(".auth-btn-wrapper .authorize").click();
  await page.locator(".auth-btn-wrapper .btn-done").click();
}
