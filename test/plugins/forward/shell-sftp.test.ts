import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requireSystem } from '../../support/sshd.ts'
import { type Opened, type Rig, startRig } from './rig.ts'

const skip = requireSystem('sshd')
const TERMINAL = { columns: 77, rows: 33, term: 'vt100' }

/** SSH_FXP_INIT for version 3 (draft-ietf-secsh-filexfer-02, section 4). */
const INIT = Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3])

function shell(rig: Rig, terminal?: typeof TERMINAL): Opened {
  return rig.open({ kind: 'shell', shell: terminal === undefined ? {} : { terminal } })
}

const type = (opened: Opened, text: string): boolean => opened.stream.write(Buffer.from(text))

test('shells and sftp', { skip }, async (t) => {
  const rig = await startRig(t)

  await t.test('a shell on a terminal has its name and size, and is told of another size', async () => {
    const opened = shell(rig, TERMINAL)
    await opened.accepted
    type(opened, 'echo "<$TERM $(stty size)>"\n')
    await opened.until(() => opened.text.includes('<vt100 33 77>'))
    opened.stream.event({ resize: { columns: 120, rows: 40 } })
    type(opened, 'echo "<$(stty size)>"; exit 7\n')
    await opened.until(() => opened.text.includes('<40 120>'))
    opened.stream.end()
    await opened.closed
    assert.deepEqual(opened.events, [{ exit: { code: 7 } }])
  })

  await t.test('a size that changes before the shell runs is the one that it has', async () => {
    const opened = shell(rig, TERMINAL)
    await opened.accepted
    opened.stream.event({ resize: { columns: 99, rows: 9 } })
    type(opened, 'echo "<$(stty size)>"; exit\n')
    await opened.until(() => opened.text.includes('<9 99>'))
    opened.stream.end()
    await opened.closed
  })

  await t.test('a shell without a terminal reads commands, and its stderr comes apart', async () => {
    const opened = shell(rig)
    await opened.accepted
    type(opened, 'test -t 0 || echo piped\necho oops >&2\nexit 3\n')
    opened.stream.end()
    await opened.closed
    assert.match(opened.text, /^piped$/m)
    assert.match(Buffer.concat(opened.aux).toString(), /oops/)
    assert.deepEqual(opened.events, [{ exit: { code: 3 } }])
  })

  await t.test('a shell has the variables that it was given, with a terminal and without', async () => {
    for (const terminal of [{}, { terminal: TERMINAL }]) {
      const env = { TUNNEL_A: 'one two', OTHER: 'three' }
      const opened = rig.open({ kind: 'shell', shell: { ...terminal, env } })
      await opened.accepted
      type(opened, 'echo "<$TUNNEL_A|$OTHER>"; exit\n')
      await opened.until(() => opened.text.includes('<one two|three>'))
      opened.stream.end()
      await opened.closed
    }
  })

  await t.test('an sftp stream carries the bytes of the subsystem, and ends as it does', async () => {
    const opened = rig.open({ kind: 'sftp' })
    await opened.accepted
    opened.stream.write(INIT)
    await opened.until(() => opened.bytes.length >= 9)
    // SSH_FXP_VERSION, 3.
    assert.deepEqual([...opened.bytes.subarray(4, 9)], [2, 0, 0, 0, 3])
    opened.stream.end()
    await opened.closed
  })
  await rig.settled()
})

test('a machine whose sshd has no sftp or no terminals is said to be so', { skip }, async (t) => {
  const rig = await startRig(t, {
    server: (session) => {
      session.on('pty', (_accept, reject) => reject())
      session.on('sftp', (_accept, reject) => reject())
    },
  })
  const said = async (opened: Opened, message: RegExp) => {
    await assert.rejects(opened.accepted, (error: Error & { code?: string; hop?: string }) => {
      assert.deepEqual([error.code, error.hop], ['CHANNEL_OPEN_FAILED', 'ssh'])
      assert.match(error.message, message)
      return true
    })
  }
  await said(rig.open({ kind: 'sftp' }), /^home does not offer sftp: /)
  await said(shell(rig, TERMINAL), /^home does not start a shell: /)
  await rig.settled()
})
