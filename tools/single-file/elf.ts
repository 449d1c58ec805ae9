/**
 * Puts a note into a 64-bit little-endian ELF program so that the program finds it in its own memory:
 * Node looks for its single-executable blob among the notes of its program headers. The file grows at
 * its end by a segment that holds a new table of program headers and the note.
 */

const PHDR_BYTES = 56;
const EHDR_BYTES = 64;
const NOTE_HEADER_BYTES = 12;
const PAGE_BYTES = 0x1000;

const PT_LOAD = 1;
const PT_NOTE = 4;
const PT_PHDR = 6;
const PF_R = 4;

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

/** The program with the note; throws for what is no such ELF file. */
export function withNote(program: Buffer, name: string, content: Buffer): Buffer {
  if (program.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") {
    throw new Error("not a 64-bit little-endian ELF file");
  }
  const segments = readSegments(program);
  const loads = segments.filter(({ type }) => type === PT_LOAD);
  const [first, last] = [loads[0], loads.at(-1)];
  if (first === undefined || last === undefined) throw new Error("nothing to load");
  // As far from its place in the file as the first segment is: kernels before 5.18 look for the table
  // of headers there.
  const shift = first.address - first.offset;
  const offset = roundUp(
    Math.max(program.length, last.address + last.memoryBytes - shift),
    PAGE_BYTES,
  );
  const tableBytes = (segments.length + 2) * PHDR_BYTES;
  const note = encodeNote(name, content);
  const noteAt = roundUp(tableBytes, 4);
  const whole: Segment = {
    type: PT_LOAD,
    flags: PF_R,
    offset,
    address: offset + shift,
    fileBytes: noteAt + note.length,
    memoryBytes: noteAt + note.length,
    align: PAGE_BYTES,
  };
  const part = (type: number, at: number, bytes: number, align: number): Segment => ({
    ...whole,
    type,
    offset: offset + at,
    address: whole.address + at,
    fileBytes: bytes,
    memoryBytes: bytes,
    align,
  });
  const table = segments.flatMap((segment) => {
    if (segment.type === PT_PHDR) return [part(PT_PHDR, 0, tableBytes, 8)];
    // Segments that are loaded stand in the order of their addresses.
    return segment === last ? [segment, whole] : [segment];
  });
  table.push(part(PT_NOTE, noteAt, note.length, 4));
  const result = Buffer.alloc(offset + whole.fileBytes);
  program.copy(result);
  result.writeBigUInt64LE(BigInt(offset), 32);
  result.writeUInt16LE(table.length, 56);
  for (const [index, segment] of table.entries()) {
    writeSegment(result, offset + index * PHDR_BYTES, segment);
  }
  note.copy(result, offset + noteAt);
  return result;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

export function readSegments(program: Buffer): readonly Segment[] {
  const at = Number(program.readBigUInt64LE(32));
  const count = program.readUInt16LE(56);
  if (program.readUInt16LE(54) !== PHDR_BYTES || at < EHDR_BYTES) {
    throw new Error("no table of program headers");
  }
  const number = (offset: number) => Number(program.readBigUInt64LE(offset));
  return Array.from({ length: count }, (_, index) => {
    const start = at + index * PHDR_BYTES;
    return {
      type: program.readUInt32LE(start),
      flags: program.readUInt32LE(start + 4),
      offset: number(start + 8),
      address: number(start + 16),
      fileBytes: number(start + 32),
      memoryBytes: number(start + 40),
      align: number(start + 48),
    };
  });
}

function writeSegment(program: Buffer, at: number, segment: Segment): void {
  program.writeUInt32LE(segment.type, at);
  program.writeUInt32LE(segment.flags, at + 4);
  const { offset, address, fileBytes, memoryBytes, align } = segment;
  for (const [index, value] of [
    offset,
    address,
    address,
    fileBytes,
    memoryBytes,
    align,
  ].entries()) {
    program.writeBigUInt64LE(BigInt(value), at + 8 + index * 8);
  }
}

function encodeNote(name: string, content: Buffer): Buffer {
  const nameBytes = roundUp(name.length + 1, 4);
  const note = Buffer.alloc(NOTE_HEADER_BYTES + nameBytes + roundUp(content.length, 4));
  note.writeUInt32LE(name.length + 1, 0);
  note.writeUInt32LE(content.length, 4);
  note.write(name, NOTE_HEADER_BYTES, "latin1");
  content.copy(note, NOTE_HEADER_BYTES + nameBytes);
  return note;
}
