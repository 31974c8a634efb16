import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel, tunnelLines } from './tunnel.ts'
import { buildWay } from './way.ts'

/** In a bundle of its own, so that its TunnelError is another class than the proxy's. */
const PROTOCOL = pathToFileURL(join(import.meta.dirname, '../../dist/protocol/index.js')).href

test('a plugin from the command line refuses a stream, and its words reach the person', {
  skip: requireSystem('sshd', 'ssh'),
}, async (t) => {
  const way = await buildWay(t)
  const folder = await tempFolder(t)
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await writeFile(
    join(folder, 'refuse.ts'),
    `import { TunnelError } from '${PROTOCOL}'
     export default async function refuse(app: { tunnel: { addHook(name: string, hook: (context: { head: { kind: string } }) => void): void } }) {
       app.tunnel.addHook('preOpen', ({ head }) => {
         if (head.kind === 'exec') throw new TunnelError('POLICY_DENIED', 'no commands at night', { hop: 'client' })
       })
     }`,
  )
  await way.proxy.stop()
  const proxy = startTunnel(
    t,
    ['server', '--port', String(way.port), '--plugin', join(folder, 'refuse.ts')],
    { env: way.env },
  )
  await proxy.line(/listening/i)
  await way.agent.line(/on line again/)
  const { code, stderr } = await tunnel(['exec', 'home', '--', 'true'], { env: way.env })
  assert.equal(code, 255)
  assert.match(stderr, /^tunnel exec: no commands at night \(.*POLICY_DENIED\)/)
  assert.equal((await tunnel(['ssh', ...way.sshOptions, 'home', 'exit 3'], { env: way.env })).code, 3)
})

test('a plugin that cannot be loaded stops the start, in one line', async (t) => {
  const folder = await tempFolder(t)
  const env = isolated(join(folder, 'state'))
  const files: [name: string, text: string, said: RegExp][] = [
    ['broken.mjs', 'export default {', /cannot be loaded: /],
    ['empty.mjs', 'export const x = 1', /has no default export that is a function/],
    ['throws.mjs', "throw new Error('not today')", /cannot be loaded: not today/],
  ]
  for (const [name, text] of files) await writeFile(join(folder, name), text)
  const printed = await tunnelLines(
    files.map(([name]) => ['server', '--port', '0', '--plugin', join(folder, name)]),
    env,
  )
  for (const [index, [, , said]] of files.entries()) {
    const { code, stderr } = printed[index]!
    assert.equal(code, 2, stderr)
    assert.match(stderr, /^tunnel server: [^\n]*CONFIG_INVALID[^\n]*\n$/)
    assert.match(stderr, said)
  }
})
