import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import type { BrowserContext, Page } from 'playwright-core'
import { TunnelService } from '../../../client/index.ts'
import { run } from '../../support/process.ts'
import { startProxy, type TestProxy } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { startSshd } from '../../support/sshd.ts'
import { node24, noNode24, requireSystem } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { inPage, noChromium, openPage, servePages, startChromium } from './chromium.ts'
import { SCENES, type Stage } from './public-api.ts'
import { rescue } from './tabs.ts'
import { startTarget, type Target } from './target.ts'

const BUNDLE = join(import.meta.dirname, '../../../dist/browser')
const WHOLE = 'tunnel-client-whole.js'
/** What a page may have to load, in bytes gzipped: a little more than it is. */
const MOST = { page: 36_400, withQueue: 42_600, whole: 49_500 }

/** A module of the bundle with all that a page loads with it. */
function loadedWith(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found
  found.add(name)
  const source = readFileSync(join(BUNDLE, name), 'utf8')
  for (const [, imported = ''] of source.matchAll(/\b(?:from|import)"\.\/([\w.-]+)"/g))
    loadedWith(imported, found)
  return found
}

const gzipped = (names: Iterable<string>) =>
  [...names].reduce((sum, name) => sum + gzipSync(readFileSync(join(BUNDLE, name)), { level: 9 }).length, 0)

test('what a page loads stays small', () => {
  const page = loadedWith('tunnel-client.js')
  const withQueue = loadedWith('tunnel-client-tab-requests.js', new Set(page))
  assert.ok(withQueue.size > page.size)
  assert.ok(gzipped(page) < MOST.page, `${gzipped(page)} bytes gzipped`)
  assert.ok(gzipped(withQueue) < MOST.withQueue, `${gzipped(withQueue)} bytes gzipped`)
  const whole = loadedWith(WHOLE)
  assert.ok(gzipped(whole) < MOST.whole, `${gzipped(whole)} bytes gzipped`)
})

describe('a page', { skip: noChromium ?? requireSystem('sshd') }, () => {
  const scope = new Cleanup()
  let proxy: TestProxy
  let target: Target
  let context: BrowserContext
  let origin: string
  let stage: Omit<Stage, 'TunnelService'>

  before(async () => {
    origin = await servePages(scope)
    proxy = await startProxy(scope, { set: [`server.origins=["${origin}"]`] })
    target = await startTarget(scope)
    await proxy.startAgent('home', 'alice', await startSshd(scope))
    stage = { url: proxy.url, token: proxy.tokenOf('alice'), base: `http://home:${target.port}` }
    context = await startChromium(scope)
  })
  after(() => scope.close())

  /** A page with a client that is connected. */
  const connectedPage = async (settings: object = {}): Promise<Page> => {
    const page = await openPage(context, origin)
    await inPage(page, 'connect', stage, settings)
    return page
  }

  for (const [name, scene] of Object.entries(SCENES)) {
    test(`in Node: ${name}`, () => scene({ TunnelService, ...stage }))
  }
  test('in Node 24, with what is published: the same', { skip: noNode24 }, async (t) => {
    const folder = await tempFolder(t)
    await build({
      entryPoints: [join(import.meta.dirname, 'public-api.ts'), join(import.meta.dirname, 'play.mjs')],
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      format: 'esm',
    })
    const library = join(BUNDLE, '../client/index.js')
    const play = [join(folder, 'play.mjs'), library, JSON.stringify(stage)]
    const { code, stdout, stderr } = await run(node24 ?? '', play)
    const names = Object.keys(SCENES).map((name) => `ok ${name}`)
    assert.deepEqual([code, stdout.trim().split('\n'), stderr], [0, names, ''])
  })
  test('in Chromium: the same', async (t) => {
    const page = await openPage(context, origin)
    for (const name of Object.keys(SCENES)) await t.test(name, () => inPage(page, 'play', name, stage))
    await page.close()
  })

  test('in Chromium, with all in one file: the same', async (t) => {
    const page = await openPage(context, `${origin}/whole`)
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    for (const name of Object.keys(SCENES)) await t.test(name, () => inPage(page, 'play', name, stage))
    assert.deepEqual(
      asked.filter((url) => url.startsWith(origin)),
      [],
    )
    await page.close()
  })
  test('a web worker, which has no document, asks as a page does', async () => {
    const page = await openPage(context, origin)
    const asked = { url: stage.url, token: stage.token, address: `${stage.base}/echo` }
    assert.equal(await inPage(page, 'askInWorker', '/worker.js', asked), 200)
    await page.close()
  })
  test('a part that does not come is told when it is used; requests are there once a page was connected', async () => {
    const page = await openPage(context, origin)
    const requests = page.waitForResponse(/tunnel-client-forwarding\.js$/)
    await inPage(page, 'connect', stage)
    await (await requests).finished()
    await page.route('**/tunnel-client-*.js', (route) => route.abort())
    assert.equal(await inPage(page, 'diagnosis'), 'CONNECT_REFUSED')
    assert.equal(await inPage(page, 'forwarded', target.port), 200)
    assert.equal(await inPage(page, 'status', `${stage.base}/echo`), 200)
    await page.close()
  })

  test('the page in examples/browser shows an answer as it comes, whatever garbage is collected meanwhile', async () => {
    const page = await context.newPage()
    await page.goto(`${origin}/examples/browser/index.html`)
    for (const [name, value] of Object.entries({
      proxy: stage.url,
      token: stage.token,
      address: `${stage.base}/parts`,
    }))
      await page.fill(`[name=${name}]`, value)
    await page.click('button')
    // By time, because a browser draws no frames of a page that it shows to nobody.
    const shows = (text: string) =>
      page.waitForFunction(`document.querySelector('output').textContent === '${text}'`, undefined, {
        polling: 50,
      })
    await shows('one')
    await (await context.newCDPSession(page)).send('HeapProfiler.collectGarbage')
    await fetch(`http://127.0.0.1:${target.port}/go`)
    await shows('onetwo')
    await page.close()
  })

  test('the page in docs/API.md runs as it stands', async () => {
    const document = readFileSync(join(BUNDLE, '../../docs/API.md'), 'utf8')
    const [, fence = ''] = /^```html\n(.*?)^```$/ms.exec(document) ?? []
    const body = fence.replace('https://tunnel.example.com', stage.url).replace('11434', String(target.port))
    const page = await context.newPage()
    await page.addInitScript(`globalThis.askMyServerForAToken = async () => ${JSON.stringify(stage.token)}`)
    // A page that Playwright answers for is not on loopback to Chromium, and may not ask there.
    await page.goto(`${origin}/dist/browser/tunnel-client.js`)
    await page.setContent(`<!doctype html><body>${body}`)
    await page.waitForFunction('document.body.textContent.includes(\'"method":"GET"\')', undefined, {
      polling: 50,
    })
    await page.close()
  })

  test('a link that is cut in the middle of a streamed answer is resumed', async () => {
    const page = await connectedPage()
    await inPage(page, 'begin', `${stage.base}/parts`)
    assert.equal(await inPage(page, 'nextPart'), 'one')
    proxy.cut('client')
    await inPage(page, 'status', `${stage.base}/go`)
    assert.equal(await inPage(page, 'nextPart'), 'two')
    assert.equal(await inPage(page, 'reconnects'), 1)
    await page.close()
  })

  test('a page that was frozen while its link died goes on when it is thawed', async () => {
    const page = await connectedPage()
    const devtools = await context.newCDPSession(page)
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' })
    proxy.cut('client')
    await devtools.send('Page.setWebLifecycleState', { state: 'active' })
    assert.equal(await inPage(page, 'status', `${stage.base}/echo`), 200)
    await page.close()
  })

  test('a page of an origin that is not listed is told so', async () => {
    const page = await openPage(context, origin.replace('127.0.0.1', 'localhost'))
    const refusal = await inPage<string>(page, 'refusal', stage)
    assert.match(refusal, /it takes no pages of this origin \(server\.origins\)/)
    await page.close()
  })

  test('a request that was accepted before its page was reloaded is there afterwards', async () => {
    const settings = { queue: { dir: 'reloaded' } }
    const page = await connectedPage(settings)
    const id = await inPage(page, 'accepted', target.port, '/count?ms=60000', 'kept')
    await page.reload()
    await page.waitForFunction('globalThis.functions !== undefined')
    assert.deepEqual(await inPage(page, 'restored', stage, settings), [id])
    await page.close()
  })

  test('five tabs have one queue: whichever is killed, each request has its outcome once', async () => {
    const told = await rescue({ context, origin, stage, target, kills: 3, requests: 45 })
    assert.deepEqual(told.wrong, [])
    assert.equal(told.kills, 3)
  })
})
