import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import type { TunnelError } from '../../client/index.ts'
import { portOf } from '../cli/forwarding/forwarding.ts'
import { isolated, startTunnel, TUNNEL, tunnel } from '../cli/tunnel.ts'
import { type Lies, noLyingDns, startLyingDns } from '../support/lying-dns.ts'
import { spawnProgram } from '../support/process.ts'
import { drop, listenTcp, readAll, startProxy, until } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { findProgram } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'

const skip = requireSystem('sshd') ?? noLyingDns()

const METADATA = '169.254.169.254'
const THOUSANDS = Array.from({ length: 3_000 }, (_, index) => `127.99.${index >> 8}.${index & 255}`)

test('an agent whose name server lies leads nobody to a metadata address, by whatever command', {
  skip,
}, async (t) => {
  let isRebound = false
  const lies: Lies = (name) => {
    if (name === 'good.test') return ['127.0.0.1']
    if (name === 'rebind.test') return [isRebound ? METADATA : '127.0.0.1']
    if (name === 'mixed.test') return ['127.0.0.1', METADATA]
    if (name === 'mapped.test') return [`::ffff:${METADATA}`]
    if (name === 'nat64.test') return ['64:ff9b::a9fe:a9fe', '127.0.0.1']
    if (name === 'cloud.test') return [METADATA]
    if (name === 'crowd.test') return THOUSANDS
    return name.startsWith('silent') ? 'silent' : undefined
  }
  const dns = await startLyingDns(t, lies)
  const hosts: string[] = []
  const service = await listenTcp(t, (socket) => {
    socket.once('data', (bytes: Buffer) => {
      hosts.push(/^host: (.*)\r$/im.exec(String(bytes))?.[1] ?? 'none')
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere')
    })
  })
  const port = Number(service.split(':')[1])
  const friends = ['bob', 'carl']
  const rules = [
    { effect: 'allow', targets: ['*'] },
    { effect: 'allow', users: friends, owners: ['alice'], targets: ['*'] },
  ]
  // If it were given a name, it would be lied to as well.
  const path = join(await tempFolder(t), 'sshd')
  const quoted = [...dns.words, findProgram('sshd')].map((word) => `'${word}'`).join(' ')
  await writeFile(path, `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 })
  const [proxy, sshd] = await Promise.all([
    startProxy(t, { set: [`policy.rules=${JSON.stringify(rules)}`] }),
    startSshd(t, { program: { path, config: [] } }),
  ])
  await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  const access = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: proxy.tokenOf('alice') }
  // As many threads as the command of the package has (cli/main.ts).
  const env = isolated(await tempFolder(t), { ...access, UV_THREADPOOL_SIZE: '16' })
  const [program = '', ...words] = dns.words
  const ssh = `${sshd.host}:${sshd.port}`
  // What is on its own list it dials itself, sealed.
  const listed = ['good', 'cloud', 'rebind'].flatMap((name) => ['--allow', `${name}.test:${port + 1}`])
  const agent = ['agent', '--machine', 'home', '--ssh', ssh, ...listed]
  spawnProgram(t, program, [...words, ...TUNNEL, ...agent], { env })
  await until(() => proxy.app.machines.find('alice', 'home')?.online === true, 60_000)
  const alice = await proxy.connect('alice')
  const seen = async (name: string, kind: 'tcp' | 'ssh' = 'tcp', to = port): Promise<string> => {
    try {
      const stream = await alice.open({ machine: 'home', kind, target: `${name}:${to}` })
      stream.end('hello\r\n\r\n')
      return String(await readAll(stream)).slice(-4)
    } catch (error) {
      return (error as TunnelError).code
    }
  }
  await t.test('two users with two silent names each hold up none of the owner’s', async () => {
    await Promise.all(
      friends.map(async (friend) => {
        await sshd.authorize(proxy.app.ssh.publicKey(friend))
        const tunnel = await proxy.connect(friend)
        for (const number of [1, 2]) {
          const target = `silent-${friend}-${number}.test:${port}`
          tunnel.open({ machine: 'home', kind: 'tcp', target }).then(drop, () => {})
        }
        await until(() => dns.asked.some((name) => name.startsWith(`silent-${friend}-2`)))
      }),
    )
    assert.equal(await seen('good.test'), 'here')
  })

  const silent = seen('silent.test')

  await t.test('each answer is taken for what it is', async () => {
    assert.equal(await seen('good.test'), 'here')
    for (const name of ['mixed', 'mapped', 'nat64', 'cloud'])
      assert.equal(await seen(`${name}.test`), 'POLICY_DENIED', name)
    assert.equal(await seen('missing.test'), 'DNS_FAILED')
    // Over TCP, because it is too long for a datagram; nobody listens at any of those.
    assert.equal(await seen('crowd.test'), 'CONNECT_REFUSED')
  })

  await t.test('a name that leads elsewhere from the second question on leads nowhere else', async () => {
    assert.equal(await seen('rebind.test'), 'here')
    isRebound = true
    const told = new Set<string>()
    await until(async () => {
      told.add(await seen('rebind.test'))
      return told.has('POLICY_DENIED')
    })
    // It is here for as long as it is remembered.
    assert.deepEqual(
      [...told].filter((each) => each !== 'here'),
      ['POLICY_DENIED'],
    )
  })

  await t.test('a sealed stream to a name of the agent’s own list neither', async () => {
    assert.equal(await seen('good.test', 'ssh', port + 1), 'CONNECT_REFUSED')
    for (const name of ['cloud.test', 'rebind.test'])
      assert.equal(await seen(name, 'ssh', port + 1), 'POLICY_DENIED', name)
  })

  await t.test('tunnel request, forward and socks say so, and services are told the name', async (t) => {
    const request = (name: string) =>
      tunnel(['request', 'http://home/', '--target', `${name}:${port}`], { env })
    const good = await request('good.test')
    assert.deepEqual([good.code, good.stdout], [0, 'here'])
    assert.equal(hosts.at(-1), `good.test:${port}`)
    const cloud = await request('cloud.test')
    assert.equal(cloud.stdout, '')
    assert.match(cloud.stderr, /cloud\.test.*POLICY_DENIED/s)

    const socks = startTunnel(t, ['socks', 'home', '--listen', '0'], { env })
    const at = await portOf(socks)
    const reply = async (name: string): Promise<number | undefined> => {
      const socket = connect(at, '127.0.0.1').on('error', () => {})
      t.after(() => socket.destroy())
      const asks = [5, 1, 0, 5, 1, 0, 3, name.length, ...Buffer.from(name), port >> 8, port & 255]
      socket.write(Buffer.from(asks))
      let text = Buffer.alloc(0)
      while (text.length < 4) text = Buffer.concat([text, (await once(socket, 'data'))[0]])
      return text[3]
    }
    // RFC 1928, section 6: succeeded, not allowed, host unreachable.
    assert.deepEqual(
      [await reply('good.test'), await reply('cloud.test'), await reply('missing.test')],
      [0, 2, 4],
    )

    const forward = startTunnel(t, ['forward', `0:home:cloud.test:${port}`], { env })
    const socket = connect(await portOf(forward, 'cloud.test'), '127.0.0.1')
    t.after(() => socket.destroy())
    // Its peer resets it.
    await new Promise((resolve) =>
      socket
        .on('error', () => {})
        .on('close', resolve)
        .resume(),
    )
    await forward.line(/cloud\.test.*never reached/)
  })

  await t.test('a name server that says nothing costs its user a while, and nobody else', async () => {
    assert.equal(await silent, 'TIMEOUT')
    assert.ok(dns.asked.includes('silent.test'))
  })
})
