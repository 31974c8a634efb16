import assert from 'node:assert/strict'
import type { IncomingMessage, RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type LookupFunction } from 'node:net'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { Agent, fetch } from 'undici'
import { FAMILIES } from '../../client/fetch-families.ts'
import { type Scene as FetchScene, outcomeOf, SCENES, seen } from '../../client/fetch-scenes.ts'
import type { Scope } from '../../support/scope.ts'
import { startService } from '../../support/service.ts'
import { requireSystem } from '../../support/sshd.ts'
import { startScene } from './scene.ts'

const skip = requireSystem('sshd')

/** Of the families of scenes that differ in one thing, one in so many. */
const EVERY = 3

/** What is of one connection, and what docs/GATEWAY.md says is added. */
const PASSING = new Set(['connection', 'keep-alive', 'transfer-encoding', 'via', 'date'])

/** Of the scenes of `fetch`: what differs here, and why. */
const DIFFERENT: Record<string, string> = {
  garbage: 'a problem document says so',
  'patch with a body': 'it is no method: the proxy refuses it, and not the service',
  'the headers that fetch adds': 'Via and Forwarded',
  'hop-by-hop headers': 'they are of one connection',
  'a length with white space': 'it is no part of the value',
  'white space around a value': 'it is no part of the value',
}

async function watch(base: string, init: object, { look, init: its }: FetchScene): Promise<unknown> {
  const { path = '/', ...rest } = its?.() ?? {}
  const own = { ...rest, ...init } as { headers?: Record<string, string> }
  const headers = { ...(rest.headers as Record<string, string>), ...own.headers }
  try {
    const response = await fetch(`${base}${path}`, { ...own, headers } as never)
    if (look !== undefined) return await look(response as unknown as Response)
    return await outcomeOf(response as unknown as Response, base, PASSING)
  } catch (error) {
    return (error as Error).name
  }
}

async function serveScene(scope: Scope, answer: FetchScene['answer']): Promise<number> {
  if (typeof answer === 'function') return startService(scope, answer)
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.after(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Requests that `fetch` cannot make, or answers that it hides. */
const FILE = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index % 251))
const file: RequestListener = (incoming, outgoing) => {
  const range = /^bytes=(\d+)-(\d*)$/.exec(incoming.headers.range ?? '')
  if (incoming.headers['if-none-match'] === '"1"') return void outgoing.writeHead(304, { etag: '"1"' }).end()
  if (range === null) return void outgoing.writeHead(200, { etag: '"1"', 'accept-ranges': 'bytes' }).end(FILE)
  const [from, to] = [Number(range[1]), range[2] === '' ? FILE.length - 1 : Number(range[2])]
  if (from >= FILE.length)
    return void outgoing.writeHead(416, { 'content-range': `bytes */${FILE.length}` }).end()
  const part = FILE.subarray(from, to + 1)
  const contentRange = `bytes ${from}-${to}/${FILE.length}`
  outgoing.writeHead(206, { 'content-range': contentRange, 'content-length': part.length }).end(part)
}
const trailing: RequestListener = (_incoming, outgoing) => {
  outgoing.writeHead(200, { trailer: 'x-sum, x-other' })
  outgoing.write('body')
  outgoing.addTrailers({ 'x-sum': '1', 'x-other': 'two' })
  outgoing.end()
}
const headersSeen: RequestListener = (incoming: IncomingMessage, outgoing) => {
  const added = /^(via|forwarded|x-forwarded-.*|connection)$/i
  const kept = incoming.rawHeaders.flatMap((name, index, all) =>
    index % 2 === 0 && !added.test(name) ? [[name.toLowerCase(), all[index + 1]]] : [],
  )
  outgoing.setHeader('Set-Cookie', ['a=1; Path=/', 'b=2; HttpOnly'])
  outgoing.setHeader('X-Mixed-Case', 'Value')
  outgoing.end(JSON.stringify([incoming.method, incoming.url, kept]))
}

interface Plain {
  name: string
  answer: RequestListener
  method?: string
  path?: string
  headers?: string[]
  body?: string
}
const METHODS = [
  'GET',
  'HEAD',
  'OPTIONS',
  'DELETE',
  'PROPFIND',
  'MKCOL',
  'REPORT',
  'SEARCH',
  'PURGE',
  'M-SEARCH',
  'TRACE',
]
const PATHS = [
  '//a//b',
  '/a/../b',
  '/./',
  '/%2e%2e/%2F',
  '/%zz',
  '/?',
  '/??&=&',
  '/a;b=c',
  '/{}|^`',
  '/a%00b',
  '/*',
]
const PLAIN: Plain[] = [
  ...METHODS.map((method) => ({ name: `${method}`, answer: headersSeen, method })),
  ...['POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'].map((method) => {
    return { name: `${method} with a body`, answer: seen, method, body: 'a body' }
  }),
  ...PATHS.map((path) => ({ name: `the path ${path}`, answer: headersSeen, path })),
  ...['bytes=0-9', 'bytes=9990-', 'bytes=99999-', 'bytes=5-5'].map((range) => {
    return { name: `the range ${range}`, answer: file, headers: ['Range', range] }
  }),
  { name: 'a whole file', answer: file },
  { name: 'HEAD of a file', answer: file, method: 'HEAD' },
  { name: 'a file that has not changed', answer: file, headers: ['If-None-Match', '"1"'] },
  { name: 'trailers', answer: trailing, headers: ['TE', 'trailers'] },
  { name: 'cookies, twice', answer: headersSeen, headers: ['Cookie', 'a=1; b="2"', 'Cookie', 'c=3'] },
  { name: 'a header in Latin-1', answer: headersSeen, headers: ['X-A', '\xfc\xff'] },
  { name: 'a header many times', answer: headersSeen, headers: ['X-A', '1', 'x-a', '2', 'X-A', ''] },
  { name: 'a header of 8 KB', answer: headersSeen, headers: ['X-A', 'x'.repeat(8_000)] },
]

async function ask(origin: string, base: string, dispatcher: Agent, plain: Plain, authorization: string[]) {
  const { method = 'GET', path = '/', headers = [], body } = plain
  // undici's `request` would make another path of one with dots.
  const answer = await dispatcher.request({
    ...{
      origin,
      method: method as 'GET',
      path: `${base}${path}`,
      headers: [...headers, ...authorization],
    },
    ...(body !== undefined && { body }),
    responseHeaders: 'raw',
  })
  const bytes = Buffer.from(await answer.body.arrayBuffer())
  const raw = answer.headers as unknown as (string | Buffer)[]
  const told: string[][] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = String(raw[index]).toLowerCase()
    const value = (raw[index + 1] as Buffer).toString('latin1')
    // The path of a cookie gets the service's prefix (cookies.test.ts).
    const said = name === 'set-cookie' ? value.replace(/; Path=[^;]*/, '') : value
    if (!PASSING.has(name)) told.push([name, said])
  }
  return {
    status: answer.statusCode,
    told: told.sort(),
    body: bytes.toString('latin1'),
    trailers: { ...answer.trailers },
  }
}

test('the gateway answers as the service does, but for what docs/GATEWAY.md lists', { skip }, async (t) => {
  const scene = await startScene(t)
  const { proxy, token } = scene
  const lookup: LookupFunction = (_host, options, done) =>
    options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)
  const dispatcher = new Agent({ connect: { lookup } })
  t.after(() => dispatcher.destroy())

  await t.test('by host, the scenes of fetch', async (t) => {
    const wrong: object[] = []
    for (const each of [...SCENES, ...FAMILIES.filter((_, index) => index % EVERY === 0)]) {
      const port = await serveScene(t, each.answer)
      const direct = await watch(`http://127.0.0.1:${port}`, { dispatcher }, each)
      const base = `http://home--${port}.localhost:${proxy.port}`
      const init = { dispatcher, headers: { authorization: `Bearer ${token}` } }
      const through = await watch(base, init, each)
      if (isDeepStrictEqual(direct, through) === each.name in DIFFERENT)
        wrong.push({ scene: each.name, direct, through })
    }
    assert.deepEqual(wrong, [])
  })

  await t.test('by path, what fetch does not do', async (t) => {
    const wrong: object[] = []
    for (const plain of PLAIN) {
      const port = await startService(t, plain.answer)
      const direct = await ask(`http://127.0.0.1:${port}`, '', dispatcher, plain, [])
      const more = ['Authorization', `Bearer ${token}`]
      const through = await ask(proxy.url, scene.base(port), dispatcher, plain, more)
      if (!isDeepStrictEqual(direct, through)) wrong.push({ name: plain.name, direct, through })
    }
    assert.deepEqual(wrong, [])
  })
})
