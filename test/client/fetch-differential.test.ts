import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import type { TunnelService } from '../../client/index.ts'
import { HttpOrigins } from '../../plugins/forward/http/origins.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { places } from '../plugins/forward/http/places.ts'
import { FAMILIES } from './fetch-families.ts'
import { outcomeOf, SCENES, type Scene } from './fetch-scenes.ts'
import { clientOf, startProxy } from './proxy.ts'

type Fetch = (url: string, init?: RequestInit) => Promise<Response>
const ALL = [...SCENES, ...FAMILIES]

async function serve(t: TestContext, answer: Scene['answer']): Promise<number> {
  const sockets = new Set<Socket>()
  const server =
    typeof answer === 'function'
      ? createServer(answer)
      : createTcpServer((socket) => {
          socket.on('error', () => {})
          socket.once('data', () => socket.end(answer))
        })
  server.on('connection', (socket: Socket) => sockets.add(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Connection's own headers, and the time. */
const PASSING = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding'])

async function watch(fetch: Fetch, base: string, { init, look }: Scene): Promise<unknown> {
  const { path = '/', ...rest } = init?.() ?? {}
  try {
    const response = await fetch(`${base}${path}`, rest)
    if (look !== undefined) return await look(response)
    return await outcomeOf(response, base, PASSING)
  } catch (error) {
    return `${(error as Error).name}: ${error instanceof RangeError ? error.message : ''}`
  }
}

/** The real client and link, and the proxy's own HTTP, over sockets in place of SSH channels. */
async function tunnelOf(t: TestContext): Promise<TunnelService> {
  const origins = new HttpOrigins(() => 0)
  const { context } = places(t)
  const proxy = await startProxy(t, {
    onStream: (stream) => void origins.serve(stream, context(stream.head.target ?? '')),
  })
  t.after(() => origins.close(new TunnelError('SHUTTING_DOWN', 'the test is over', { hop: 'client' })))
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  return tunnel
}

test('fetch through the tunnel is as fetch itself, but for the differences that docs/API.md lists', async (t) => {
  const tunnel = await tunnelOf(t)
  const wrong: object[] = []
  const through: Fetch = (url, init) => tunnel.fetch(url, init as never)
  for (const scene of ALL) {
    const port = await serve(t, scene.answer)
    const direct = await watch(fetch, `http://127.0.0.1:${port}`, scene)
    const tunnelled = await watch(through, `http://home:${port}`, scene)
    const same = isDeepStrictEqual(direct, tunnelled)
    if (same !== (scene.differs === undefined))
      wrong.push({ scene: scene.name, differs: scene.differs ?? 'not at all', direct, tunnelled })
  }
  assert.deepEqual(wrong, [])
})

test('docs/API.md lists each difference that was found with its reason, and no other in its table', async () => {
  const text = await readFile(new URL('../../docs/API.md', import.meta.url), 'utf8')
  // Name, `fetch`, the tunnel, and why.
  const rows = [...text.matchAll(/^\| \*\*(.+?)\*\* \| [^|]+ \| [^|]+ \| [^|]{20,} \|$/gm)].map(
    ([, name]) => name,
  )
  const found = ALL.flatMap(({ differs }) => differs ?? [])
  assert.deepEqual(new Set(rows), new Set(found))
})
