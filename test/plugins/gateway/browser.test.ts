import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { test } from 'node:test'
import { WebSocketServer } from 'ws'
import { ownerTag } from '../../../plugins/gateway/asked.ts'
import { noChromium, startChromium } from '../../client/web/chromium.ts'
import { startService } from '../../support/service.ts'
import { requireSystem } from '../../support/sshd.ts'
import { startScene } from './scene.ts'

const skip = requireSystem('sshd') ?? noChromium
/** To a browser every host under `localhost` itself is a site of its own; those under this one are one site, as a user's. */
const DOMAIN = 'tunnel.localhost'
const BIG_BYTES = 24 * 1_048_576

const PAGE = `<!doctype html><title>application</title><p id=who></p><script type=module>
const socket = new WebSocket('ws://' + location.host + '/ws')
const [first, who, bytes] = await Promise.all([
  new Promise((resolve) => { socket.onmessage = (event) => resolve(event.data) }),
  fetch('/api/who', { headers: { authorization: 'Bearer of the application' } }).then((answer) => answer.json()),
  fetch('/big').then((answer) => answer.arrayBuffer()).then((buffer) => buffer.byteLength),
])
globalThis.result = { first, who, bytes, cookie: document.cookie }
</script>`

/** Absolute paths, a login that redirects, a session of its own, a WebSocket, a big download. */
const application =
  (changes: string[]): RequestListener =>
  (incoming, outgoing) => {
    if (incoming.url === '/api/who')
      return void outgoing.end(
        JSON.stringify([incoming.headers.cookie, incoming.headers.authorization, incoming.headers.host]),
      )
    if (incoming.url === '/big') return void outgoing.end(Buffer.alloc(BIG_BYTES))
    if (incoming.url === '/changed') {
      changes.push(String(incoming.method))
      return void outgoing.end('changed')
    }
    if (incoming.headers.cookie === undefined) {
      const cookies = [
        'session=1; HttpOnly; SameSite=Lax',
        `seen=yes; Domain=${DOMAIN}`,
        '__Host-tunnel-session=x; Secure; Path=/',
      ]
      return void outgoing.writeHead(302, { location: '/in?after=login', 'set-cookie': cookies }).end()
    }
    outgoing.writeHead(200, { 'content-type': 'text/html' }).end(PAGE)
  }

test('a web application works in a browser behind the gateway, and keeps others out', { skip }, async (t) => {
  const scene = await startScene(t, [`gateway.host=${DOMAIN}`])
  const { proxy } = scene
  const context = await startChromium(t)
  const changes: string[] = []
  let sockets = 0
  const port = await startService(t, application(changes), (server) => {
    new WebSocketServer({ server }).on('connection', (socket) => {
      sockets++
      socket.send('hello')
    })
  })
  const ticketOf = async (user: string) => {
    const answer = await proxy.api(user, 'auth/ticket', { method: 'POST' })
    return ((await answer.json()) as { ticket: string }).ticket
  }
  const refusals = async (): Promise<number> => {
    const text = await (await fetch(`${proxy.url}/api/tunnel/metrics`)).text()
    const lines = text.match(/^tunnel_errors_total\{.*"FORBIDDEN".*$/gm) ?? []
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
  const short = `http://home--${port}.${DOMAIN}:${proxy.port}`
  const { origin: own } = (await (await proxy.api('alice', `machines/home/origin/${port}`)).json()) as {
    origin: string
  }
  assert.equal(own, `http://home--${port}--${ownerTag('alice')}.${DOMAIN}:${proxy.port}`)

  await t.test('a ticket becomes a cookie, and the application has an origin of its own', async () => {
    const page = await context.newPage()
    const ticket = await ticketOf('alice')
    await page.goto(`${short}/start?a=%20b&ticket=${ticket}`)
    await page.waitForFunction('globalThis.result !== undefined')
    assert.equal(page.url(), `${own}/in?after=login`)
    const host = new URL(own).host
    assert.deepEqual(await page.evaluate('globalThis.result'), {
      first: 'hello',
      who: ['session=1; seen=yes', 'Bearer of the application', host],
      bytes: BIG_BYTES,
      cookie: 'seen=yes',
    })
    const cookies = await context.cookies(own)
    const mine = cookies.find(({ name }) => name === '__Host-tunnel-session')
    assert.deepEqual([mine?.httpOnly, mine?.secure, mine?.sameSite], [true, true, 'Lax'])
    assert.ok(cookies.every(({ domain }) => domain === new URL(own).hostname))
    await page.goto(`${own}/again`)
    assert.equal(await page.title(), 'application')
    // With its WebSocket, which the next test would count.
    await page.waitForFunction('globalThis.result !== undefined')
  })

  await t.test("another service's page can do nothing here, and a link to it can be followed", async (t) => {
    const evilPort = await startService(t, (_incoming, outgoing) =>
      outgoing
        .writeHead(200, { 'content-type': 'text/html', 'clear-site-data': '"cookies"' })
        .end('<!doctype html><title>evil</title>'),
    )
    const evil = own.replace(String(port), String(evilPort))
    const page = await context.newPage()
    await page.goto(`${evil}/?ticket=${await ticketOf('alice')}`)
    assert.equal(await page.title(), 'evil')
    const refused = await refusals()
    const socketsBefore = sockets
    const tried = await page.evaluate(async (target) => {
      const init = { method: 'POST', mode: 'no-cors', credentials: 'include' } as const
      const post = await fetch(`${target}/changed`, init).then(
        () => true,
        () => false,
      )
      const socket = new WebSocket(`${target.replace('http', 'ws')}/ws`)
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve(true)
        socket.onerror = () => resolve(false)
      })
      return { post, opened }
    }, own)
    // Refused by the gateway, whose answers say (Cross-Origin-Resource-Policy) that no other origin is to have them.
    assert.deepEqual(tried, { post: false, opened: false })
    assert.deepEqual([changes, sockets], [[], socketsBefore])
    // The cookie came with both.
    assert.equal(await refusals(), refused + 2)
    await page.evaluate(`location.href = '${own}/in'`)
    await page.waitForURL(`${own}/in`)
    assert.equal(await page.title(), 'application')
  })

  await t.test("another user's ticket, and a cookie for another service, open nothing", async () => {
    const stranger = await fetch(`${proxy.url}/`, { headers: { host: new URL(own).host } }).catch(
      () => undefined,
    )
    assert.notEqual(stranger?.status, 200)
    const page = await context.newPage()
    const answer = await page.goto(`${own}/?ticket=${await ticketOf('mallory')}`)
    assert.equal(answer?.status(), 403)
    const other = await page.goto(own.replace(String(port), '81'))
    assert.equal(other?.status(), 401)
  })
})
