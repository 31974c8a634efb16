import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { authorizeKey } from '../../agent/authorized-keys.ts'
import { sshSoftware } from '../../agent/ssh-software.ts'
import { parseTarget, type Target } from '../../protocol/codec/target.ts'
import { mustRun, run, spawnProgram } from '../support/process.ts'
import { freePort, requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'

const missing =
  process.getuid?.() === 0
    ? requireSystem('dropbear', 'dropbearkey', 'ssh', 'ssh-keygen', 'unshare')
    : 'only root may run Dropbear for an account, in a mount namespace with a home folder of its own'

test("a machine with Dropbear gets a line that Dropbear understands, and the proxy's key logs in", {
  skip: missing ?? false,
}, async (t) => {
  const folder = await tempFolder(t, 'dropbear')
  const home = join(folder, 'home')
  await mkdir(home, { mode: 0o700 })
  const identity = join(folder, 'identity')
  await mustRun('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', identity])
  const hostKey = join(folder, 'host')
  await mustRun('dropbearkey', ['-t', 'ed25519', '-f', hostKey])
  const port = await freePort()
  // Dropbear looks for keys in the account's home folder alone.
  const script = `mount --bind '${home}' /root && exec dropbear -F -E -s -p 127.0.0.1:${port} -r '${hostKey}' -P '${folder}/pid'`
  const dropbear = spawnProgram(t, 'unshare', ['-m', 'sh', '-c', script])
  await dropbear.line(/Not backgrounding/)

  const software = await sshSoftware(parseTarget(`127.0.0.1:${port}`) as Target)
  assert.match(software ?? '', /^dropbear_/)
  const publicKey = await readFile(`${identity}.pub`, 'utf8')
  const options = ['-F', 'none', '-i', identity, '-p', String(port), '-o', 'BatchMode=yes']
  const trusting = ['-o', 'StrictHostKeyChecking=no', '-o', `UserKnownHostsFile=${folder}/known`]
  const logIn = () => run('ssh', [...options, ...trusting, 'root@127.0.0.1', 'echo in'])
  const file = join(home, '.ssh', 'authorized_keys')
  await authorizeKey(publicKey, { file, software })
  const { stdout, code } = await logIn()
  assert.deepEqual({ stdout, code }, { stdout: 'in\n', code: 0 })
})
