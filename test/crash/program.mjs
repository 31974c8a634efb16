// A program with a queue, which its parent kills. Says what it knows of each request, a line each, before it goes on.
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { TunnelService } from '../../dist/client/index.js'

/** Before it tries a full disk again, in ms. */
const PATIENCE_MS = 10

const { url, dir, port, life, count, waitBefore } = JSON.parse(process.argv[2])
const say = (...words) => process.stdout.write(`${words.join(' ')}\n`)
const nameOf = ({ headers }) => headers.find(([name]) => name === 'x-name')[1]

const tunnel = new TunnelService({
  url,
  token: 'token',
  settings: { queue: { dir, maxRequests: 100_000 }, backoff: { baseMs: 20, maxMs: 100 } },
})
const outcomes = []
/** @param {string} name @param {Promise<unknown>} response */
const watch = (name, response) => {
  const told = response.then(
    () => say('answered', name),
    (error) => say('failed', name, error.code),
  )
  outcomes.push(told)
}
tunnel.on('restored', (requests) => {
  for (const { request, response } of requests) watch(nameOf(request), response)
})
tunnel.on('set-aside', (entries) => say('aside', JSON.stringify(entries)))
while (tunnel.state !== 'connected') {
  try {
    await tunnel.connect()
  } catch (error) {
    if (error.code !== 'STORE_FAILED') throw error
    say('full')
    await wait(PATIENCE_MS)
  }
}
say('connected')
for (let index = 0; index < count; index++) {
  if (waitBefore.includes(index)) {
    say('waits')
    await once(process.stdin, 'data')
  }
  const name = `${String(life).padStart(4, '0')}-${String(index).padStart(6, '0')}`
  const { accepted, response } = tunnel.enqueue({
    machine: 'home',
    port,
    method: 'POST',
    headers: { 'x-name': name },
    body: 'x'.repeat((index * 37) % 500),
    priority: 'high',
    idempotent: index % 2 === 0,
    timeoutMs: 60_000,
  })
  watch(name, response)
  accepted.then(
    () => say('accepted', name),
    () => {},
  )
  // Some come together, and share a write; some alone.
  if (index % 7 === 0) await accepted.catch(() => wait(PATIENCE_MS))
}
await Promise.all(outcomes)
await tunnel.disconnect()
process.stdin.destroy()
say('done')
