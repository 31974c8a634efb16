import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { mustRun } from '../../support/process.ts'
import { seededBytes } from '../../support/random.ts'
import { type ChaosProgram, resultOf, runSession, sshLine } from './program.ts'

const COMMITS = 1_500
/** Nobody keeps more than this in a repository that is cloned often, and git is slow on random bytes. */
const MAX_BYTES = 64 * 1_048_576

const GIT_ENV = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
}

/** History as `git fast-import` reads it: each commit adds one file, in one of a hundred folders. */
function history(seed: string, blobBytes: number): Buffer {
  const parts: Buffer[] = []
  const bytes = seededBytes(`git ${seed}`, COMMITS * blobBytes)
  for (let number = 1; number <= COMMITS; number++) {
    const blob = bytes.subarray((number - 1) * blobBytes, number * blobBytes)
    const head = [
      'commit refs/heads/main',
      `committer Chaos <chaos@example.com> ${1_700_000_000 + number} +0000`,
      `data <<END\ncommit ${number}\nEND`,
      ...(number > 1 ? [] : ['deleteall']),
      `M 100644 inline folder-${number % 100}/file-${number}`,
      `data ${blob.length}\n`,
    ]
    parts.push(Buffer.from(head.join('\n')), blob, Buffer.from('\n'))
  }
  return Buffer.concat(parts)
}

/** `git clone` of a repository with thousands of objects, then a push of one more branch. */
export const git: ChaosProgram = {
  name: 'git',
  needs: ['ssh', 'git'],
  async run(context) {
    const [far, clone] = [join(context.folder, 'far.git'), join(context.folder, 'clone')]
    const env = { ...context.env, ...GIT_ENV }
    const blobBytes = Math.ceil(Math.min(context.byteCount, MAX_BYTES) / COMMITS)
    await mkdir(far)
    await mustRun('git', ['init', '--quiet', '--bare', '--initial-branch=main', far], { env })
    const input = history(context.seed, blobBytes)
    await mustRun('git', ['-C', far, 'fast-import', '--quiet', '--force'], { env, input })

    const options = { env: { ...GIT_ENV, GIT_SSH_COMMAND: sshLine(context), GIT_SSH_VARIANT: 'ssh' } }
    const cloned = await runSession(context, 'git', ['clone', '--quiet', `ssh://home${far}`, clone], options)
    const push = ['-C', clone, 'push', '--quiet', 'origin', 'HEAD:refs/heads/pushed']
    const pushed = await runSession(context, 'git', push, options)
    return resultOf([cloned, pushed], COMMITS * blobBytes, async () => {
      await mustRun('git', ['-C', clone, 'fsck', '--full', '--strict'], { env })
      const tips = ['main', 'pushed'].map((branch) =>
        mustRun('git', ['-C', far, 'rev-parse', branch], { env }),
      )
      const [main, copy, head] = await Promise.all([
        ...tips,
        mustRun('git', ['-C', clone, 'rev-parse', 'HEAD'], { env }),
      ])
      return main === head && copy === head
    })
  },
}
