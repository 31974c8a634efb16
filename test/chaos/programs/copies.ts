import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { seededFile } from '../../support/random.ts'
import { shellLine } from '../../support/sshd.ts'
import { fileSha256, treeSha256 } from '../../support/tree.ts'
import {
  type ChaosProgram,
  optionsOf,
  type ProgramContext,
  resultOf,
  runSession,
  sshLine,
} from './program.ts'

/** What is copied, where to on the machine, and where that copy comes back to. */
function placesOf({ folder }: ProgramContext) {
  return { source: join(folder, 'source'), far: join(folder, 'far'), back: join(folder, 'back') }
}

/** One file up, and that copy down again. */
export const scp: ChaosProgram = {
  name: 'scp',
  needs: ['ssh', 'scp'],
  async run(context) {
    const { source, far, back } = placesOf(context)
    const expected = await seededFile(source, context.seed, context.byteCount)
    const { bytesPerSecond } = context
    const limit = bytesPerSecond === undefined ? [] : ['-l', String(Math.ceil((bytesPerSecond * 8) / 1_024))]
    const options = [...optionsOf(context), ...limit]
    const up = await runSession(context, 'scp', [...options, source, `home:${far}`])
    const down = await runSession(context, 'scp', [...options, `home:${far}`, back])
    return resultOf([up, down], 2 * context.byteCount, async () => {
      return (await fileSha256(far)) === expected && (await fileSha256(back)) === expected
    })
  },
}

/** `put` and `get` in one session. */
export const sftp: ChaosProgram = {
  name: 'sftp',
  needs: ['ssh', 'sftp'],
  async run(context) {
    const { source, far, back } = placesOf(context)
    const expected = await seededFile(source, context.seed, context.byteCount)
    const batch = join(context.folder, 'batch')
    await writeFile(batch, `put ${source} ${far}\nget ${far} ${back}\n`)
    const session = await runSession(context, 'sftp', [...optionsOf(context), '-b', batch, 'home'])
    return resultOf([session], 2 * context.byteCount, async () => {
      return (await fileSha256(far)) === expected && (await fileSha256(back)) === expected
    })
  },
}

const RSYNC_FILES = 8

/** A folder of files up, and that copy down again. */
export const rsync: ChaosProgram = {
  name: 'rsync',
  needs: ['ssh', 'rsync'],
  async run(context) {
    const { source, far, back } = placesOf(context)
    await mkdir(join(source, 'deeper'), { recursive: true })
    const each = Math.ceil(context.byteCount / RSYNC_FILES)
    for (let number = 0; number < RSYNC_FILES; number++) {
      const path = join(source, number % 2 === 0 ? '' : 'deeper', `file-${number}`)
      await seededFile(path, `${context.seed} ${number}`, each)
    }
    const { bytesPerSecond } = context
    const limit = bytesPerSecond === undefined ? [] : [`--bwlimit=${Math.ceil(bytesPerSecond / 1_024)}`]
    const options = ['-a', ...limit, '-e', sshLine(context)]
    const up = await runSession(context, 'rsync', [...options, `${source}/`, `home:${far}/`])
    const down = await runSession(context, 'rsync', [...options, `home:${far}/`, `${back}/`])
    return resultOf([up, down], 2 * each * RSYNC_FILES, async () => {
      const expected = await treeSha256(source)
      return (await treeSha256(far)) === expected && (await treeSha256(back)) === expected
    })
  },
}

/** Bytes through plain pipes: `ssh home 'cat > far' < source`, then `ssh home 'cat far' > back`. */
export const pipes: ChaosProgram = {
  name: 'ssh-pipe',
  needs: ['ssh'],
  async run(context) {
    const { source, far, back } = placesOf(context)
    const expected = await seededFile(source, context.seed, context.byteCount)
    const ssh = shellLine(['ssh', ...optionsOf(context)])
    const up = await runSession(context, 'sh', ['-c', `${ssh} home 'cat > ${far}' < ${source}`])
    const down = await runSession(context, 'sh', ['-c', `${ssh} -n home 'cat ${far}' > ${back}`])
    return resultOf([up, down], 2 * context.byteCount, async () => {
      return (await fileSha256(far)) === expected && (await fileSha256(back)) === expected
    })
  },
}
