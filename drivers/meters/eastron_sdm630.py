"""Eastron SDM630 v2 and SDM630MCT.

Source: Eastron, "SDM630Modbus Smart Meter Modbus Protocol Implementation", table of input registers (function 04,
IEEE 754 floats, high word first). The datasheet prints parameter numbers from 30001, which is wire address 0. At most
40 parameters (80 registers) in one reply. The serial number is holding register 0xFC00 (function 03), unsigned 32
bits. Values are primary: the MCT applies its own CT ratio.
"""

from drivers.registers import Model, f32_be, u32_be

MODEL = Model(
    id="eastron_sdm630",
    title="Eastron SDM630 / SDM630MCT",
    source="Eastron SDM630Modbus protocol implementation, input registers",
    function=4,
    words_max=80,
    rows=(
        f32_be(0x0000, "v_l1"),
        f32_be(0x0002, "v_l2"),
        f32_be(0x0004, "v_l3"),
        f32_be(0x0006, "i_l1"),
        f32_be(0x0008, "i_l2"),
        f32_be(0x000A, "i_l3"),
        f32_be(0x000C, "p_l1"),
        f32_be(0x000E, "p_l2"),
        f32_be(0x0010, "p_l3"),
        f32_be(0x0034, "p_w"),
        f32_be(0x0038, "s_va"),
        f32_be(0x003C, "q_var"),
        f32_be(0x0046, "f_hz"),
        f32_be(0x0048, "import_wh", 1000.0),
        f32_be(0x004A, "export_wh", 1000.0),
    ),
    serial=u32_be(0xFC00, "serial"),
)
