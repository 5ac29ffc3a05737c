// A sandbox whose output is to change more than its own text, and what the page shows of it.

import { lastText, texts } from "./person.mjs";
import { check, until } from "./support.mjs";

export const HOSTILE = String.raw`
  printf '<script>alert(1)</script><img src=x onerror=alert(2)><style>*{display:none}</style>\n'
  printf '\033]0;owned\007\033]8;;http://evil.example/\033\\link\033]8;;\033\\ \033[2J\033[1;1H\033[?1049h end\n'
  printf 'right \342\200\256tfel\342\200\254 \342\201\247\327\220\327\221 nul\0nul\n'
  printf '\033[31;1mred \033[38;2;1;200;3mtrue\033[48;5;200mtable\n'
  head -c 1000000 /dev/zero | tr '\0' x; echo
  printf 'Z\314\200\314\200\314\200\314\200\314\200\314\200\314\200\314\200\314\200\314\200\n'
  echo after; sleep 600`;

// The page shows the log of the sandbox `id` that runs it.
export async function showsTextAlone(page, id) {
  await until("all of it came", async () => (await lastText(page)) === "after");
  const all = await texts(page);
  check("markup is text", all[0] === "<script>alert(1)</script><img src=x onerror=alert(2)><style>*{display:none}</style>", all[0]);
  check("escapes are gone", all[1] === "link  end", all[1]);
  check("direction and NUL are marks", all[2].replaceAll(/\s+/g, " ") === "right RLOtfelPDF RLIאב nul␀nul", all[2]);
  const colour = await page.locator(".row .text span").filter({ hasText: /^true$/ }).first().evaluate((it) => getComputedStyle(it).color);
  check("true colour", colour === "rgb(1, 200, 3)", colour);
  check("a class for a colour", (await page.locator(".row .fg-red.s-bold").first().innerText()) === "red ");
  check("a long line is cut", all[4].length === 4096 && (await page.locator(".more").count()) === 1, all[4].length);
  await page.locator(".more").dispatchEvent("click");
  await until("and goes on when asked", async () => (await page.locator("#log .row .text").nth(4).evaluate((it) => it.textContent.length)) > 60_000);
  check("the title is the page's", (await page.title()) === `Log of ${id}`, await page.title());
  const made = await page.evaluate(() => document.querySelectorAll("#log script, #log img, #log style, #log a, #log iframe").length);
  check("no element comes of it", made === 0, made);
  const rows = await page.locator("#log .row").evaluateAll((all) => all.map((it) => it.getBoundingClientRect().height));
  check("each line has its own height only", rows.every((it) => it === 18), rows);
  check("the page did not grow", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight));
}
