import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ask } from '../../examples/ask-model.ts'
import { clientOf } from '../client/proxy.ts'
import { Ground } from '../crash/ground.ts'
import { Program } from '../support/process.ts'
import { startService } from '../support/service.ts'
import { tempFolder } from '../support/tree.ts'

test('examples/ask-model.ts gives the words of a model as they come, over a link that is cut, and stops it', async (t) => {
  const ground = await Ground.start(t, 8)
  let stopped!: (value: unknown) => void
  const isStopped = new Promise((resolve) => {
    stopped = resolve
  })
  let more = (): void => {}
  const port = await startService(t, async (incoming, outgoing) => {
    outgoing.once('close', stopped)
    for await (const _chunk of incoming) void _chunk
    const words = ['It ', 'is ', 'Rayleigh ', 'scattering', '.']
    more = () => {
      const response = words.shift()
      if (response !== undefined) outgoing.write(`${JSON.stringify({ response })}\n`)
    }
    more()
  })
  const tunnel = clientOf(t, ground.url)
  await tunnel.connect()
  const heard: string[] = []
  for await (const word of ask(tunnel, { machine: 'home', port, prompt: 'Why is the sky blue?' })) {
    heard.push(word)
    if (heard.length === 2) ground.cut()
    if (heard.length === 4) break
    more()
  }
  assert.deepEqual(heard, ['It ', 'is ', 'Rayleigh ', 'scattering'])
  await isStopped
})

test('examples/durable-queue.ts is killed with its orders under way, and the next run has their answers', async (t) => {
  const ground = await Ground.start(t, 8)
  const dir = await tempFolder(t, 'example')
  const carriedOut: string[] = []
  const keys = new Set<unknown>()
  let isAnswering = false
  const port = await startService(t, async (incoming, outgoing) => {
    let order = ''
    for await (const chunk of incoming) order += chunk
    const key = incoming.headers['idempotency-key']
    if (!keys.has(key)) carriedOut.push(order)
    keys.add(key)
    if (isAnswering) outgoing.end('thank you')
  })
  const example = fileURLToPath(new URL('../../examples/durable-queue.ts', import.meta.url))
  const env = { ...process.env, TUNNEL_URL: ground.url, TUNNEL_TOKEN: 'token' }
  const run = (...orders: string[]) =>
    new Program(process.execPath, ['--import', 'tsx', example, dir, 'home', String(port), ...orders], { env })
  const first = run('tea', 'cake')
  t.after(() => first.stop())
  await first.line('cake: accepted')
  first.kill('SIGKILL')
  await first.exit
  isAnswering = true
  const second = run('milk')
  assert.deepEqual(await second.exit, { code: 0, signal: null }, second.stderr)
  const lines = second.stdout.trim().split('\n').sort()
  assert.deepEqual(lines, [
    'left over: cake: 200 thank you',
    'left over: tea: 200 thank you',
    'milk: 200 thank you',
    'milk: accepted',
  ])
  assert.deepEqual(carriedOut.sort(), ['cake', 'milk', 'tea'])
})
