# Attributes that the interpreter reads by itself (kAttributes in array.cpp): what a type checker is to see.
viva\._core\.array\.dtype$:
    @property
    def dtype(self) -> dtype:
        """type of the values"""

viva\._core\.array\.device$:
    @property
    def device(self) -> str:
        """where the values are: cpu"""

viva\._core\.array\.shape$:
    @property
    def shape(self) -> tuple[int, ...]:
        """sizes, outermost axis first"""

viva\._core\.array\.strides$:
    @property
    def strides(self) -> tuple[int, ...]:
        """steps along the axes, in values"""

viva\._core\.array\.ndim$:
    @property
    def ndim(self) -> int:
        """number of axes"""

viva\._core\.array\.size$:
    @property
    def size(self) -> int:
        """number of values"""

viva\._core\.array\.nbytes$:
    @property
    def nbytes(self) -> int:
        """bytes of all values"""

viva\._core\.array\.T$:
    @property
    def T(self) -> array:
        """the transpose of a matrix, a view"""

viva\._core\.array\.mT$:
    @property
    def mT(self) -> array:
        """the last two axes exchanged, a view"""

