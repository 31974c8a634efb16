import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { runCell } from '../chaos/cell.ts'
import { FAULTS } from '../chaos/faults.ts'
import { PROGRAMS } from '../chaos/programs/index.ts'
import { peakResidentBytes } from '../support/proc.ts'
import { run, spawnProgram } from '../support/process.ts'
import { listenTcp, readAll } from '../support/proxy.ts'
import { seededBytes, seededFile } from '../support/random.ts'
import { sshOptions } from '../support/sshd.ts'
import { freePort, requireSystem } from '../support/system.ts'
import { MACHINE, startTopology } from '../support/topology.ts'
import { fileSha256, tempFolder } from '../support/tree.ts'

const MIB = 1_048_576
/** 1 GiB and more is `npm run chaos -- --programs scp --faults none --mib 1024`, whose table has the same two figures. */
const LARGE_BYTES = 128 * MIB
/** What a proxy or an agent may take for it: less than it takes at rest and the copy. README.md names what 1 GiB takes. */
const MAX_RESIDENT_BYTES = 208 * MIB

const none = FAULTS.find(({ name }) => name === 'none')!

test('every stock program goes through ProxyCommand', { skip: requireSystem('sshd') }, async (t) => {
  const topology = await startTopology(t, { profile: 'default', relays: true, watchSshd: true })
  for (const program of PROGRAMS) {
    await t.test(
      `${program.name}: everything arrives, and its status is 0`,
      {
        skip: requireSystem(...program.needs),
      },
      async (t) => {
        const result = await runCell({
          program,
          fault: none,
          byteCount: 4 * MIB,
          seed: 1,
          short: true,
          profile: 'default',
          timeoutMs: 120_000,
          topology,
          signal: t.signal,
        })
        assert.ok(result.ok, `${result.detail}\n${result.logs}`)
      },
    )
  }
})

/** A connection through a SOCKS server without authentication (RFC 1928). */
async function socks(t: TestContext, port: number, target: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  t.after(() => socket.destroy())
  const answer = async (length: number): Promise<Buffer> => {
    for (;;) {
      const bytes = socket.read(length) as Buffer | null
      if (bytes !== null) return bytes
      await once(socket, 'readable')
    }
  }
  socket.write(Buffer.from([5, 1, 0]))
  assert.deepEqual([...(await answer(2))], [5, 0])
  const targetPort = Number(target.split(':')[1])
  socket.write(Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, targetPort >> 8, targetPort & 0xff]))
  assert.equal((await answer(10))[1], 0)
  return socket
}

test('stock programs of one user, one after the other', {
  skip: requireSystem('sshd', 'ssh', 'scp'),
}, async (t) => {
  const { sshd, proxyCommand, env, proxy, agent } = await startTopology(t)

  await t.test("ssh passes on the command's status and its signal", async () => {
    const ssh = (command: string) =>
      run('ssh', [...sshOptions(sshd, { proxyCommand }), MACHINE, command], { env })
    const { code, stdout, stderr } = await ssh('echo out; echo err >&2; exit 77')
    assert.deepEqual([code, stdout, stderr.trim()], [77, 'out\n', 'err'])
    // ssh's own word for a command that a signal has ended.
    assert.equal((await ssh('kill -KILL $$')).code, 255)
  })

  await t.test('ssh -D carries several connections at once, each with its own bytes', async (t) => {
    const echo = await listenTcp(t, (socket) => socket.pipe(socket))
    const port = await freePort()
    const options = sshOptions(sshd, { proxyCommand, set: ['ExitOnForwardFailure=yes'] })
    const words = [...options, '-D', `127.0.0.1:${port}`, MACHINE, 'echo ready; exec cat']
    const ssh = spawnProgram(t, 'ssh', words, { env, stdin: 'pipe' })
    await ssh.line('ready')
    await Promise.all(
      Array.from({ length: 5 }, async (_, index) => {
        const bytes = seededBytes(`socks ${index}`, MIB)
        const socket = await socks(t, port, echo)
        socket.end(bytes)
        assert.ok((await readAll(socket)).equals(bytes))
      }),
    )
    ssh.end()
    assert.deepEqual(await ssh.exit, { code: 0, signal: null })
  })

  await t.test(
    `scp of ${LARGE_BYTES / MIB} MiB arrives as it was, and takes no more memory than is stated`,
    async (t) => {
      const folder = await tempFolder(t)
      const [source, far] = [join(folder, 'source'), join(folder, 'far')]
      const expected = await seededFile(source, 'large', LARGE_BYTES)
      const { code, stderr } = await run(
        'scp',
        [...sshOptions(sshd, { proxyCommand }), source, `${MACHINE}:${far}`],
        {
          env,
        },
      )
      assert.equal(code, 0, stderr)
      assert.equal(await fileSha256(far), expected)
      for (const [name, { pid }] of Object.entries({ proxy, agent })) {
        const peak = peakResidentBytes(pid)
        t.diagnostic(`the ${name} had ${Math.round(peak / MIB)} MiB at most`)
        assert.ok(peak > 0 && peak < MAX_RESIDENT_BYTES, `${name}: ${peak}`)
      }
    },
  )
})
