import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { killTree } from '../../support/proc.ts'
import { Program } from '../../support/process.ts'
import { seededSha256, seededStream } from '../../support/random.ts'
import {
  type ChaosProgram,
  lastWords,
  optionsOf,
  type ProgramContext,
  type ProgramResult,
  wrapped,
} from './program.ts'

/** A web service beside the sshd: GET gives seeded bytes, POST answers with the SHA-256 of the body. */
async function startWeb(context: ProgramContext) {
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET') {
      seededStream(context.seed, context.byteCount).pipe(response)
      return
    }
    const hash = createHash('sha256')
    incoming.on('data', (bytes) => hash.update(bytes))
    incoming.on('end', () => response.end(hash.digest('hex')))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, port: (server.address() as AddressInfo).port }
}

async function download(socketPath: string, signal: AbortSignal): Promise<string> {
  const outgoing = request({ socketPath, signal, path: '/', agent: false }).end()
  const [response] = await once(outgoing, 'response')
  const hash = createHash('sha256')
  await pipeline(response, hash)
  return hash.digest('hex')
}

async function upload(socketPath: string, context: ProgramContext): Promise<string> {
  const outgoing = request({ socketPath, signal: context.signal, method: 'POST', path: '/', agent: false })
  const answered = once(outgoing, 'response')
  await pipeline(seededStream(context.seed, context.byteCount), outgoing)
  const [response] = await answered
  return Buffer.concat(await response.toArray()).toString()
}

/** `ssh -L` with an HTTP download and an upload on it. */
export const forward: ChaosProgram = {
  name: 'ssh-L',
  needs: ['ssh'],
  async run(context) {
    const { server, port } = await startWeb(context)
    // A local socket file instead of a port: nothing to collide with, and it works across network namespaces.
    const local = join(context.folder, 'forwarded')
    const options = [
      ...optionsOf(context),
      '-o',
      'ExitOnForwardFailure=yes',
      '-L',
      `${local}:127.0.0.1:${port}`,
    ]
    const [command, args] = wrapped(context, 'ssh', [...options, 'home', 'echo ready; exec cat'])
    const expected = seededSha256(context.seed, context.byteCount)
    try {
      return await context.session(async (): Promise<ProgramResult> => {
        const ssh = new Program(command, args, { env: context.env, stdin: 'pipe' })
        const abort = () => killTree(ssh.pid)
        context.signal.addEventListener('abort', abort, { once: true })
        const moved = ssh
          .line('ready')
          .then(async () => [await download(local, context.signal), await upload(local, context)])
          .catch((error: Error) => [error.message])
        // A session that ends takes what is on it with it, so one of the two always settles.
        const sums = await moved
        ssh.end()
        const exit = await ssh.exit
        context.signal.removeEventListener('abort', abort)
        const checksumOk = sums.length === 2 && sums.every((sum) => sum === expected)
        const result: ProgramResult = { byteCount: 2 * context.byteCount, checksumOk, exitStatus: exit.code }
        if (!checksumOk) result.detail = lastWords(ssh.stderr) || sums[0] || 'no answer'
        return result
      })
    } finally {
      server.close()
      server.closeAllConnections()
    }
  },
}
