import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { build } from 'esbuild'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import type { Scope } from '../../support/scope.ts'
import { findProgram, requireSystem } from '../../support/system.ts'

const ROOT = join(import.meta.dirname, '../../..')
const TYPES: Record<string, string> = { html: 'text/html', js: 'text/javascript', map: 'application/json' }
/** A page that has the library, as any page of a user. */
const PAGE = `<!doctype html><title>page</title><script type="module">
  import * as client from '/dist/browser/tunnel-client.js'
  Object.assign(globalThis, client)
  await import('/page.js')
</script>`

/** A worker has no document; it says what its page has to know. */
const WORKER = `
  const { TunnelService } = await import('/dist/browser/tunnel-client.js')
  onmessage = async ({ data: { url, token, address } }) => {
    const tunnel = new TunnelService({ url, token })
    try {
      await tunnel.connect()
      const response = await tunnel.fetch(address)
      await tunnel.disconnect()
      postMessage(response.status)
    } catch (error) {
      postMessage(String(error))
    }
  }
  postMessage('ready')`

export const noChromium = requireSystem('chromium')

/** Where pages come from: an origin of its own, which is not the proxy's. */
export async function servePages(scope: Scope): Promise<string> {
  const entryPoints = [join(ROOT, 'test/client/web/page.ts')]
  const { outputFiles } = await build({ entryPoints, bundle: true, format: 'esm', write: false })
  const made: Record<string, string | undefined> = {
    '/': PAGE,
    '/whole': PAGE.replace('tunnel-client', 'tunnel-client-whole'),
    '/page.js': outputFiles[0]?.text,
    '/worker.js': WORKER,
  }
  const server = createServer(async (request, response) => {
    const path = request.url ?? '/'
    const isServed = /^\/(dist|examples)\/browser\/[\w.-]+$/.test(path)
    const text =
      made[path] ?? (isServed ? await readFile(join(ROOT, path)).catch(() => undefined) : undefined)
    const type = TYPES[path.split('.').at(-1) ?? ''] ?? 'text/html'
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': type }).end(text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export async function startChromium(scope: Scope): Promise<BrowserContext> {
  const browser = await chromium.launch({
    executablePath: findProgram('chromium') ?? '',
    // Root has no sandbox; a container has little shared memory.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  })
  scope.after(() => browser.close())
  return browser.newContext()
}

export async function openPage(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(url)
  await page.waitForFunction('globalThis.functions !== undefined')
  return page
}

/** Calls one of the functions in page.ts. */
export async function inPage<Result>(page: Page, name: string, ...args: readonly unknown[]): Promise<Result> {
  const call = ([name, args]: readonly [string, readonly unknown[]]): unknown => {
    const { functions } = globalThis as unknown as {
      functions: Record<string, (...args: unknown[]) => unknown>
    }
    return functions[name]?.(...args)
  }
  return (await page.evaluate(call, [name, args] as const)) as Result
}
